"""The pytest plugin, as each run has it: options, markers and fixtures.

Nothing here calls Docker. The hooks of a run with a daemon are in `hooks.lifecycle.DaemonHooks`,
which is registered once a test asks for a daemon, or xdist has workers; what only such a run needs
is imported then, and plainly. Pytest's loader, which rewrites assertions, takes a third of a
millisecond and more of each module; what it has made of one it keeps in a file beside it, and makes
anew in each run that may not write there.

Errors are looked up where they are caught, not at the top: pytester forgets what a run in its own
process loaded, and the next one loads it anew, as other classes. So what is loaded late is imported
by `from .module import name`, since the package keeps the first run's module as its attribute.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

import pytest

import pytest_dind

from . import options, settings

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import docker

    from .cluster.swarm import Swarm
    from .daemon.handle import Daemon
    from .hooks.fresh import Fresh
    from .hooks.lifecycle import DaemonHooks
    from .kubernetes.handle import Kubernetes
    from .kubernetes.namespace import Namespace
    from .runs.factory import Factory

_DAEMON_HOOKS = "dind-daemon-hooks"
_REQUIREMENTS = "_dind_requirements"
_POOL = "_dind_pool"
_OF_CONFIG = frozenset({"dind_config", "pytestconfig", options.IMAGE_FIXTURE})
_STARTING = options.DAEMON_FIXTURES | {options.FRESH}
_ASKING = _STARTING | options.CLUSTER_FIXTURES | {_REQUIREMENTS}
# The latter of `Daemon.exec`, and of the suite's own commands too.
_SHORTENED = (("pytest_dind.errors", "DindError"), ("subprocess", "SubprocessError"))

# Known in each run, since a test or a fixture may ask for the daemon only as it runs.
_test = pytest.StashKey[str]()
_wider = pytest.StashKey[int]()
# Whether settings rest on fixtures of the project's own, which end after the daemon.
_rests = pytest.StashKey[bool]()


# No module of its own, which each run would load.
class _Finder:
    """Finds the plugin's own modules before pytest does: they have no assertions for tests."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the module as Python itself finds it; None for all others."""
        is_own = name.startswith("pytest_dind.")
        return PathFinder.find_spec(name, path, target) if is_own else None


# ------------------------------------------------------------------- options


# Nor this.
class HookSpecs:
    """The hooks that conftest.py files and other plugins may implement."""

    @staticmethod
    @pytest.hookspec
    def pytest_dind_create_container(
        config: pytest.Config, daemon: str, mode: str, create: dict[str, Any]
    ) -> None:
        """Change the container of a daemon, before it is created.

        Called for each daemon that a process starts, those of `dind_factory` too, perhaps in
        another thread than the tests'. Not in mode socket, which has no such container.

        Args:
            config: pytest's configuration.
            daemon: The daemon's name: "main", that of `dind_factory`, or of a further image's.
            mode: The mode in force: "dind" or "sysbox".
            create: What docker-py's `create_container` takes, to be changed in place; its
                `host_config` has the names of the engine's API, as in
                `create["host_config"]["Devices"]`. Name, user, entrypoint, command, labels and
                mounts are the plugin's; labels, mounts and arguments of dockerd may be added.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let others implement the hooks."""
    pluginmanager.add_hookspecs(HookSpecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini key."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that a bad value ends the run before any test; add the markers."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    config.add_cleanup(lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None)
    _settings(config)
    for name, text in options.MARKERS.items():
        config.addinivalue_line("markers", name + text)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print the doctor's report instead of running tests, if `--dind-doctor` asks for it."""
    if config.option.help or config.option.version:
        return None
    chosen = _settings(config)
    if chosen.doctor == settings.DOCTOR_OFF:
        return None
    from .doctor import examine, render

    try:
        report = examine(chosen, lambda line: print(f"dind: {line}", file=sys.stderr))
    except KeyboardInterrupt:
        return pytest.ExitCode.INTERRUPTED
    print(render(report))
    return report.exit_code


def _settings(config: pytest.Config) -> settings.Settings:
    if options.SETTINGS not in config.stash:
        try:
            found = options.from_config(config)
            found.check_files()
            config.stash[options.IMAGES] = options.images_from_config(config, found)
        except pytest_dind.SettingsError as error:
            raise pytest.UsageError(str(error)) from error
        config.stash[options.SETTINGS] = found
    return config.stash[options.SETTINGS]


# --------------------------------------------------------------------- hooks


def _daemon_hooks(config: pytest.Config) -> DaemonHooks:
    """Return the hooks of a run with a daemon; the first call registers them."""
    hooks = _registered_hooks(config)
    if hooks is None:
        from .hooks.lifecycle import DaemonHooks

        hooks = DaemonHooks(
            config, test=config.stash.get(_test, ""), wider=config.stash.get(_wider, 0)
        )
        config.pluginmanager.register(hooks, _DAEMON_HOOKS)
    return hooks


def _registered_hooks(config: pytest.Config) -> DaemonHooks | None:
    hooks: DaemonHooks | None = config.pluginmanager.get_plugin(_DAEMON_HOOKS)
    return hooks


# Before xdist starts its workers.
@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin the report, if `--dind-report` asks for one: it ends the run here if it can't be.

    Then begin the start of the daemon, or of clusters, where the last run like this one needed
    them.
    """
    config = session.config
    path = _settings(config).report
    if path:
        from .hooks import reporting

        if reporting.is_wanted(config):
            try:
                reporting.begin(config, path)
            except pytest_dind.SettingsError as error:
                raise pytest.UsageError(str(error)) from error
    cache = getattr(config, "cache", None)
    if cache is not None and cache.get(options.AHEAD, None):
        from .hooks import ahead

        expected = ahead.expected(config)
        if expected:
            _daemon_hooks(config).start_ahead(expected)
    if config.pluginmanager.hasplugin("dsession"):
        # They invite xdist's workers.
        _daemon_hooks(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have tests run on each of several images, where the options or their marker name them."""
    images = metafunc.config.stash[options.IMAGES]
    if len(images) > 1 or metafunc.definition.get_closest_marker(options.IMAGES_MARKER):
        from .hooks import matrix

        matrix.parametrize(metafunc, images)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a collection error of all markers with bad arguments at once."""
    report = yield
    tests = [node for node in report.result or () if isinstance(node, pytest.Item)]
    nodes: list[pytest.Item | pytest.Collector] = [collector, *tests]
    if report.passed and any(
        mark.name in options.MARKERS for node in nodes for mark in node.own_markers
    ):
        from .hooks import markers

        errors = markers.mistakes(nodes)
        if errors:
            report.outcome, report.result = "failed", []
            report.longrepr = "\n".join(map(str, errors))
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """Set up first what markers ask for, those too that another hook gave to a test."""
    asks = asks_fresh = False
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is None:
            continue
        marked = options.MARKERS.keys() & {mark.name for mark in item.iter_markers()}
        if options.CLEAN in names or options.CLEAN in marked:
            from .hooks import leaks

            leaks.place_fixture(item)
        if marked.intersection(options.REQUIREMENTS):
            # A list of its own: the parameter sets of a function share theirs.
            item.fixturenames = [_REQUIREMENTS, *item.fixturenames]
        asks = asks or not _ASKING.isdisjoint(item.fixturenames)
        asks_fresh = asks_fresh or options.FRESH in item.fixturenames
    if asks:
        hooks = _daemon_hooks(config)
        if asks_fresh:
            # They fill its pool.
            hooks.fresh()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Note which test runs."""
    item.config.stash[_test] = item.nodeid
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Tell what a test makes in the daemon from what fixtures make that outlive the test.

    This is not among the hooks of runs with a daemon: those may be registered by this very fixture,
    and are told of its end then.
    """
    config, wider = request.config, fixturedef.scope != "function"
    if fixturedef.argname == "dind_config" and not _OF_CONFIG.issuperset(fixturedef.argnames):
        config.stash[_rests] = True
    hooks = _registered_hooks(config)
    if hooks is not None:
        hooks.before_fixture(wider=wider)
    config.stash[_wider] = config.stash.get(_wider, 0) + wider
    try:
        return (yield)
    finally:
        config.stash[_wider] -= wider
        hooks = _registered_hooks(config)
        if hooks is not None:
            hooks.after_fixture(wider=wider)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave the plugin's own lines out of the traceback of its errors, but with `--full-trace`."""
    if call.excinfo is not None:
        error = call.excinfo.value
        # Nobody raises an error of a module that is not loaded; a test that does not pass may have
        # patched what its import needs.
        known = (getattr(sys.modules.get(module), name, ()) for module, name in _SHORTENED)
        if isinstance(error, tuple(known)):
            from .hooks import tracebacks

            return (yield from tracebacks.shortened(item.config, call.excinfo, error))
    return (yield)


# ------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session", name=options.IMAGE_FIXTURE)
def dind_image(request: pytest.FixtureRequest) -> str:
    """The image that a test's parameter names; an empty text where it has none."""
    return getattr(request, "param", "")


def _unavailable(chosen: settings.Settings) -> AbstractContextManager[None]:
    """Skip the test when no daemon can be had in this context; see `hooks.unavailable`."""
    from .hooks.unavailable import unavailable

    return unavailable(chosen)


def _on_image(given: settings.Settings, image: str) -> settings.Settings:
    """Return settings with the image that the parameter names, if it names one."""
    return given.replace(image=image) if image else given


@pytest.fixture(scope="session")
def dind_config(pytestconfig: pytest.Config, _dind_image: str) -> settings.Settings:
    """The frozen settings; override it in conftest.py to return `dind_config.replace(...)`."""
    return _on_image(pytestconfig.stash[options.SETTINGS], _dind_image)


@pytest.fixture(scope="session")
def dind_mode(dind_config: settings.Settings, _dind_image: str, pytestconfig: pytest.Config) -> str:
    """The mode in force: "dind", "sysbox" or "socket"."""
    chosen = _on_image(dind_config, _dind_image)
    with _unavailable(chosen):
        run = _daemon_hooks(pytestconfig).run(chosen)
        return run.choice(chosen, proved=False).mode


@pytest.fixture(scope="session")
def dind_daemon(
    dind_config: settings.Settings, _dind_image: str, request: pytest.FixtureRequest
) -> Iterator[Daemon]:
    """The daemon: a handle with its address, its client, and commands to run in it."""
    hooks = _daemon_hooks(request.config)
    with _unavailable(dind_config):
        daemon = hooks.daemon(dind_config, request.session, _dind_image)
    yield daemon
    # Of several daemons the first one's end is not the last one's.
    if request.config.stash.get(_rests, False) and not _dind_image:
        hooks.end_before_fixtures(request.session)


@pytest.fixture(name=_REQUIREMENTS)
def dind_requirements(
    request: pytest.FixtureRequest, dind_config: settings.Settings, _dind_image: str
) -> None:
    """Skip a test whose markers ask for what isn't there, or fail it with --dind-require."""
    from .hooks import markers

    chosen = _on_image(dind_config, _dind_image)
    # A test that needs a daemon has the proof of the mode in that.
    proved = _STARTING.isdisjoint(request.fixturenames)
    with _unavailable(chosen):
        run = _daemon_hooks(request.config).run(chosen)
        choice = run.choice(chosen, proved=proved)
    markers.apply(request, chosen, choice)


@pytest.fixture(scope="session")
def dind_factory(
    dind_config: settings.Settings, _dind_image: str, request: pytest.FixtureRequest
) -> Iterator[Factory]:
    """More daemons: `dind_factory(name=..., image=..., mode=..., args=[...]) -> Daemon`."""
    hooks = _daemon_hooks(request.config)
    with _unavailable(dind_config):
        factory = hooks.clusters.factory(_on_image(dind_config, _dind_image))
    yield factory
    hooks.close_factory(factory, failed=bool(request.session.testsfailed))


@pytest.fixture(scope="session")
def dind_swarm(
    dind_factory: Factory, dind_config: settings.Settings, pytestconfig: pytest.Config
) -> Swarm:
    """A swarm of `--dind-nodes` daemons, one of them its manager, each of them Ready."""
    clusters = _daemon_hooks(pytestconfig).clusters
    found: Swarm = clusters.given(dind_factory, "dind_swarm", int(dind_config.nodes))
    return found


@pytest.fixture(scope="session")
def dind_kubernetes(
    dind_factory: Factory, dind_config: settings.Settings, pytestconfig: pytest.Config
) -> Kubernetes:
    """A Kubernetes cluster of `--dind-nodes` nodes, ready when it is handed over."""
    clusters = _daemon_hooks(pytestconfig).clusters
    found: Kubernetes = clusters.given(dind_factory, "dind_kubernetes", int(dind_config.nodes))
    return found


@pytest.fixture
def dind_namespace(
    request: pytest.FixtureRequest, dind_kubernetes: Kubernetes
) -> Iterator[Namespace]:
    """A Kubernetes namespace of the test's own, by its name; it goes in the background then."""
    namespace = dind_kubernetes.namespace(request.node.name)
    yield namespace
    dind_kubernetes.remove_namespace(namespace)


@pytest.fixture(scope="session", name=_POOL)
def dind_pool(
    dind_config: settings.Settings, _dind_image: str, pytestconfig: pytest.Config
) -> Iterator[Fresh]:
    """The pool behind `dind_fresh`; it ends before the fixtures that the settings rest on."""
    chosen = _on_image(dind_config, _dind_image)
    with _unavailable(chosen):
        fresh = _daemon_hooks(pytestconfig).fresh()
        fresh.open(chosen, _dind_image)
    yield fresh
    fresh.close()


@pytest.fixture
def dind_fresh(
    request: pytest.FixtureRequest, dind_config: settings.Settings, _dind_pool: Fresh
) -> Iterator[Daemon]:
    """A daemon of the test's own, as a rule started before; after the test it is removed."""
    from .hooks.markers import copied

    with _unavailable(dind_config):
        daemon = _dind_pool.take(copied(request.node))
    yield daemon
    _dind_pool.give_back(daemon)


@pytest.fixture(scope="session")
def dind_client(dind_daemon: Daemon) -> Iterator[docker.DockerClient]:
    """A docker client (docker-py) on the daemon, healthy when handed over."""
    client = dind_daemon.client()
    yield client
    client.close()


@pytest.fixture(scope="session")
def dind_env(request: pytest.FixtureRequest, dind_daemon: Daemon) -> dict[str, str]:
    """The process environment for tools, in which they find the daemon and no other engine."""
    return _daemon_hooks(request.config).environment(dind_daemon)


@pytest.fixture(scope="session")
def dind_activated(dind_daemon: Daemon) -> Iterator[Daemon]:
    """The daemon; this process's own environment leads to it to the end of the session."""
    with dind_daemon.activated():
        yield dind_daemon


@pytest.fixture
def dind_clean(request: pytest.FixtureRequest, dind_daemon: Daemon) -> Iterator[Daemon]:
    """The daemon; after the test everything the test added is gone, images kept unless asked."""
    with _daemon_hooks(request.config).leaks.cleaned(request):
        yield dind_daemon
