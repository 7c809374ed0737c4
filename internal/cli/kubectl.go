package cli

import (
	"fmt"
	"os"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
)

// kubectl runs the Kubernetes command line that is built in, against the local
// cluster where nothing else is named.
func (a *app) kubectl(args []string) int {
	if os.Getenv("KUBECONFIG") == "" {
		if path := localKubeconfig(); path != "" {
			if err := os.Setenv("KUBECONFIG", path); err != nil {
				fmt.Fprintln(a.err, "error:", err)
				return 1
			}
		}
	}
	os.Args = append([]string{"kubectl"}, args...)
	streams := genericiooptions.IOStreams{In: a.in, Out: a.out, ErrOut: a.err}
	c := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
		PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     os.Args,
		ConfigFlags:   genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams),
		IOStreams:     streams,
	})
	c.SetArgs(args)
	code := 0
	// CheckErr decides the exit code (diff: 1 for a difference) and exits through
	// this.
	cmdutil.BehaviorOnFatal(func(msg string, n int) {
		if msg != "" {
			fmt.Fprintln(a.err, msg)
		}
		os.Exit(n)
	})
	if err := c.Execute(); err != nil {
		fmt.Fprintln(a.err, "error:", err)
		code = 1
	}
	return code
}
