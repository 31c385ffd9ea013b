// One binary for all that a Kubernetes node runs, named by the link that it is called by.
//
// The parts are those of their projects, unchanged. Together they have each library once, on disk
// and in memory, which is half of what seven binaries take.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

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
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
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
	"kube-controller-manager": command(func() *cobra.Command {
		return controllermanager.NewControllerManagerCommand()
	}),
	"kube-proxy":     command(func() *cobra.Command { return proxy.NewProxyCommand() }),
	"kube-scheduler": command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubectl":        command(func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() }),
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

// dns runs CoreDNS with the plugins that the node's Corefile names; the order is theirs in it.
func dns() {
	dnsserver.Directives = []string{"ready", "errors", "loadbalance", "cache", "kubernetes", "forward"}
	coremain.Run()
}
