// One binary for all that a Kubernetes node runs, named by the link that it is called by.
//
// The parts are those of their projects; one of them waits less. Together they have each library once, on disk
// and in memory, which is half of what seven binaries take.
package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	features "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/cli"
	logs "k8s.io/component-base/logs/api/v1"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllermanageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var programs = map[string]func(){
	"coredns": dns,
	"etcd":    func() { etcdmain.Main(os.Args) },
	"kube-apiserver": command(func() *cobra.Command {
		return apiserver.NewAPIServerCommand()
	}),
	"kube-controller-manager": command(controllerManager),
	"kube-proxy":              command(func() *cobra.Command { return proxy.NewProxyCommand() }),
	"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":                 command(func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() }),
	"kubelet": command(func() *cobra.Command {
		return kubelet.NewKubeletCommand(context.Background())
	}),
}

func main() {
	program, found := programs[filepath.Base(os.Args[0])]
	if !found && len(os.Args) > 1 {
		// `kubernetes kubelet ...`, as where links are not wanted.
		os.Args = os.Args[1:]
		program, found = programs[os.Args[0]]
	}
	if !found {
		names := slices.Sorted(maps.Keys(programs))
		fmt.Fprintf(os.Stderr, "usage: %s, each with its own arguments\n", strings.Join(names, " | "))
		os.Exit(2)
	}
	program()
}

// command runs one of the project's commands as its own main function does.
func command(make func() *cobra.Command) func() {
	return func() { os.Exit(cli.Run(make())) }
}

// controllerManager gives the project's command, which waits for less of the API.
//
// The project's own waits, by looking once a second, for all that /healthz asks about. Two answers of
// it come no earlier than a second after all others: that the default roles and priorities are made.
// Who has every right, as here, needs neither.
func controllerManager() *cobra.Command {
	options, err := controllermanageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	known, disabled := controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault()
	aliases := controllermanager.ControllerAliases()
	command := &cobra.Command{
		Use: "kube-controller-manager",
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return options.ComponentGlobalsRegistry.Set()
		},
		RunE: func(command *cobra.Command, _ []string) error {
			if err := logs.ValidateAndApply(options.Logs, features.DefaultFeatureGate); err != nil {
				return err
			}
			config, err := options.Config(command.Context(), known, disabled, aliases)
			if err != nil {
				return err
			}
			config.Kubeconfig.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return healthEnough{next}
			})
			return controllermanager.Run(command.Context(), config.Complete())
		},
	}
	sets := options.Flags(known, disabled, aliases)
	options.ParsedFlags = &sets
	for _, set := range sets.FlagSets {
		command.Flags().AddFlagSet(set)
	}
	return command
}

// healthEnough asks the API for its health without the default roles and priorities, and answers when
// it is there: whoever asks would look again a second later.
type healthEnough struct{ http.RoundTripper }

func (next healthEnough) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Path != "/healthz" {
		return next.RoundTripper.RoundTrip(request)
	}
	request = request.Clone(request.Context())
	request.URL.RawQuery = "exclude=poststarthook/rbac/bootstrap-roles" +
		"&exclude=poststarthook/scheduling/bootstrap-system-priority-classes"
	for patience := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		response, err := next.RoundTripper.RoundTrip(request)
		if err != nil || response.StatusCode == http.StatusOK || time.Now().After(patience) {
			return response, err
		}
		response.Body.Close()
	}
}

// dns runs CoreDNS with the plugins that the node's Corefile names; the order is theirs in it.
func dns() {
	dnsserver.Directives = []string{"ready", "errors", "loadbalance", "cache", "kubernetes", "forward"}
	coremain.Run()
}
