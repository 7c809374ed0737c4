package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"trireme/internal/cli/managers"
	"trireme/internal/cli/tenant"
	"trireme/internal/server"
)

// app is what every command shares.
type app struct {
	in       io.Reader
	out, err io.Writer

	kubeconfig string
	namespace  string
	output     string
	// code is what a command wants as exit code beside success, 0: none. It is
	// how exec passes on the exit status of what ran.
	code int
}

// usageError is a wrong command line: exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs one command line and returns the process's exit code.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	a := &app{in: in, out: out, err: errOut}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if len(args) > 0 && args[0] == "kubectl" {
		return a.kubectl(args[1:])
	}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return a.code
	}
	fmt.Fprintf(errOut, "error: %s\n", explain(err))
	var usage usageError
	if errors.As(err, &usage) || isUsage(err) {
		return 2
	}
	return 1
}

// isUsage knows cobra's own complaints, which have no type.
func isUsage(err error) bool {
	for _, s := range []string{"unknown command", "unknown flag", "unknown shorthand", "required flag", "accepts ", "requires at least", "invalid argument"} {
		if strings.HasPrefix(err.Error(), s) {
			return true
		}
	}
	return false
}

// explain says what an error means for a user of the command line.
func explain(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no manager answers: %v (is it running? `trireme up` starts one here)", err)
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case apierrors.IsUnauthorized(err):
		return fmt.Sprintf("%v: the kubeconfig is not of this cluster", err)
	}
	return err.Error()
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "trireme",
		Short: "One cluster for kubectl, docker and mesos clients",
		Long: `Trireme runs containers on one machine or many: one binary, one store, and the
Kubernetes API as its first front door.

  trireme up                                  start a cluster on this machine
  trireme run web --image IMAGE --publish 8088:80 --replicas 3
  trireme status | ps | logs web | why POD    look at it
  trireme kubectl …                           everything else`,
		Version:       server.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	c.SetIn(a.in)
	c.SetOut(a.out)
	c.SetErr(a.err)
	c.PersistentFlags().StringVar(&a.kubeconfig, "kubeconfig", "", "how to reach the cluster (default: $KUBECONFIG, or the kubeconfig of this machine's manager)")
	c.PersistentFlags().StringVarP(&a.namespace, "namespace", "n", "", "namespace (default: the kubeconfig's, or default)")
	c.AddCommand(
		a.upCommand(), a.joinCommand(), a.downCommand(), a.statusCommand(),
		a.runCommand(), a.complete(a.psCommand(), apps, false), a.complete(a.logsCommand(), appsAndPods, false),
		a.complete(a.execCommand(), appsAndPods, false), a.complete(a.scaleCommand(), apps, false),
		a.complete(a.updateCommand(), apps, false), a.complete(a.rollbackCommand(), apps, false),
		a.complete(a.rmCommand(), apps, true), a.complete(a.whyCommand(), podNames, false), a.planCommand(), a.complete(a.drainCommand(), allNodes, false),
		a.topCommand(), a.imageCommand(), a.fipCommand(), a.networkCommand(), a.stackCommand(), tenant.Command(a.env()), managers.Command(a.env()), a.restoreCommand(), a.nodeCommand(), a.configCommand(), a.doctorCommand(), a.dockerCommand(), a.simCommand(),
		&cobra.Command{
			Use: "kubectl", Short: "The Kubernetes command line, built in", DisableFlagParsing: true,
			Run: func(_ *cobra.Command, args []string) { a.code = a.kubectl(args) },
		},
	)
	return c
}

// clientConfig returns how to reach the cluster, and the namespace meant.
func (a *app) clientConfig() (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.kubeconfig
	if a.kubeconfig == "" && os.Getenv("KUBECONFIG") == "" {
		rules.ExplicitPath = localKubeconfig()
	}
	if !slices.ContainsFunc(rules.GetLoadingPrecedence(), exists) {
		return nil, "", errors.New("no cluster is known: start one with `trireme up`, or name a kubeconfig with --kubeconfig")
	}
	c := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	ns := a.namespace
	if ns == "" {
		var err error
		if ns, _, err = c.Namespace(); err != nil {
			return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
		}
	}
	config, err := c.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 200, 400
	config.UserAgent = "trireme/" + server.Version
	return config, ns, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// localKubeconfig returns the kubeconfig of this machine's manager, empty where
// it has none.
func localKubeconfig() string {
	cfg := server.Default()
	if root := os.Getenv("TRIREME_ROOT"); root != "" {
		cfg.Root = root
	}
	if _, err := os.Stat(cfg.KubeconfigPath()); err != nil {
		return ""
	}
	return cfg.KubeconfigPath()
}

// client returns a client of the cluster and the namespace meant.
func (a *app) client() (*kubernetes.Clientset, string, error) {
	config, ns, err := a.clientConfig()
	if err != nil {
		return nil, "", err
	}
	cs, err := kubernetes.NewForConfig(config)
	return cs, ns, err
}

// dynamicClient returns what reaches kinds that have no Go type here.
func (a *app) dynamicClient() (*dynamic.DynamicClient, error) {
	config, _, err := a.clientConfig()
	if err != nil {
		return nil, err
	}
	return dynamic.NewForConfig(config)
}

// terminal reports whether w is one, and its width.
func terminal(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil
}
