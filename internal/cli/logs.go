package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

func (a *app) logsCommand() *cobra.Command {
	var o corev1.PodLogOptions
	tail, since := int64(0), time.Duration(0)
	c := &cobra.Command{
		Use:   "logs APP|POD",
		Short: "What an app's replicas, or one pod, have written",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tail > 0 {
				o.TailLines = &tail
			}
			if since > 0 {
				s := int64(since.Seconds())
				o.SinceSeconds = &s
			}
			return a.logs(cmd.Context(), args[0], &o)
		},
	}
	f := c.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on as more is written; new replicas join in")
	f.BoolVarP(&o.Timestamps, "timestamps", "t", false, "say when each line was written")
	f.BoolVarP(&o.Previous, "previous", "p", false, "of the container before its last restart")
	f.Int64Var(&tail, "tail", 0, "only so many lines of each (default: all)")
	f.DurationVar(&since, "since", 0, "only what is younger, such as 10m")
	f.StringVarP(&o.Container, "container", "c", "", "which container (default: every one)")
	return c
}

func (a *app) logs(ctx context.Context, name string, o *corev1.PodLogOptions) error {
	cs, ns, err := a.client()
	if err != nil {
		return err
	}
	pods, selector, err := podsOf(ctx, cs, ns, name)
	if err != nil {
		return err
	}
	l := &logPrinter{app: a, cs: cs, ns: ns, opts: o, seen: map[string]bool{}, prefix: selector != ""}
	g, ctx := errgroup.WithContext(ctx)
	for i := range pods.Items {
		l.follow(ctx, g, &pods.Items[i])
	}
	if o.Follow && selector != "" {
		g.Go(func() error {
			w, err := cs.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: pods.ResourceVersion})
			if err != nil {
				return err
			}
			defer w.Stop()
			for e := range w.ResultChan() {
				if p, ok := e.Object.(*corev1.Pod); ok && e.Type != "DELETED" {
					l.follow(ctx, g, p)
				}
			}
			return ctx.Err()
		})
	}
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// podsOf returns an app's pods with their selector, or the one pod of the name.
func podsOf(ctx context.Context, cs kubernetes.Interface, ns, name string) (*corev1.PodList, string, error) {
	selector, err := selectorOf(ctx, cs, ns, name)
	if err == nil {
		pods, err := cs.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: selector})
		return pods, selector, err
	}
	p, podErr := cs.CoreV1().Pods(ns).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(podErr) {
		return nil, "", fmt.Errorf("no app and no pod %q in namespace %s: `trireme ps` lists what there is", name, ns)
	}
	if podErr != nil {
		return nil, "", podErr
	}
	return &corev1.PodList{Items: []corev1.Pod{*p}}, "", nil
}

// logPrinter prints several streams line by line, each under its own prefix.
type logPrinter struct {
	app    *app
	cs     kubernetes.Interface
	ns     string
	opts   *corev1.PodLogOptions
	prefix bool

	mu   sync.Mutex
	seen map[string]bool // "pod/container" that is being followed
}

// follow starts to print a pod's containers that have started and are not
// printed yet.
func (l *logPrinter) follow(ctx context.Context, g *errgroup.Group, p *corev1.Pod) {
	for _, s := range p.Status.ContainerStatuses {
		started := s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil
		if !started || (l.opts.Container != "" && s.Name != l.opts.Container) {
			continue
		}
		key := fmt.Sprintf("%s/%s#%d", p.Name, s.Name, s.RestartCount)
		l.mu.Lock()
		n, seen := len(l.seen), l.seen[key]
		l.seen[key] = true
		l.mu.Unlock()
		if seen {
			continue
		}
		label := ""
		if l.prefix {
			label = paint(l.app.out, n, p.Name+" | ")
		}
		pod := p.Name
		g.Go(func() error { return l.copy(ctx, pod, s.Name, label) })
	}
}

// linePiece is how much of a line is held: some never end.
const linePiece = 64 << 10

func (l *logPrinter) copy(ctx context.Context, pod, container, label string) error {
	opts := *l.opts
	opts.Container = container
	r, err := l.cs.CoreV1().Pods(l.ns).GetLogs(pod, &opts).Stream(ctx)
	if err != nil {
		if l.prefix && apierrors.IsNotFound(err) {
			return nil // it went meanwhile
		}
		return fmt.Errorf("logs of %s: %w", pod, err)
	}
	defer r.Close()
	_, watched := terminal(l.app.out)
	lines := bufio.NewReaderSize(r, linePiece)
	for begins := true; ; {
		piece, err := lines.ReadSlice('\n')
		if text := string(piece); text != "" {
			if watched {
				text = harmless(text)
			}
			if begins {
				text = label + text
			}
			begins = err == nil
			l.mu.Lock()
			fmt.Fprint(l.app.out, text)
			l.mu.Unlock()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("logs of %s: %w", pod, err)
		}
	}
}

func (a *app) execCommand() *cobra.Command {
	container, stdin, tty := "", false, false
	c := &cobra.Command{
		Use:     "exec APP|POD [flags] -- COMMAND [ARG...]",
		Short:   "Run a command in a pod, or in one of an app's",
		Example: "  trireme exec -it web -- sh",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() > 1 {
				return usagef("exec: want APP|POD -- COMMAND [ARG...]")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exec(cmd.Context(), args[0], &corev1.PodExecOptions{
				Container: container, Command: args[1:], Stdin: stdin, TTY: tty, Stdout: true, Stderr: !tty,
			})
		},
	}
	c.Flags().BoolVarP(&stdin, "stdin", "i", false, "pass on standard input")
	c.Flags().BoolVarP(&tty, "tty", "t", false, "give it a terminal")
	c.Flags().StringVarP(&container, "container", "c", "", "which container (default: the first)")
	return c
}

func (a *app) exec(ctx context.Context, name string, o *corev1.PodExecOptions) error {
	config, ns, err := a.clientConfig()
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	pods, _, err := podsOf(ctx, cs, ns, name)
	if err != nil {
		return err
	}
	pod := ""
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Status.Phase == corev1.PodRunning && (pod == "" || podReady(p)) {
			pod = p.Name
		}
	}
	if pod == "" {
		return fmt.Errorf("no pod of %s is running: `trireme ps` and `trireme why POD` say more", name)
	}
	req := cs.CoreV1().RESTClient().Post().Resource("pods").Namespace(ns).Name(pod).SubResource("exec").VersionedParams(o, scheme.ParameterCodec)
	ws, err := remotecommand.NewWebSocketExecutor(config, "GET", req.URL().String())
	if err != nil {
		return err
	}
	stream := remotecommand.StreamOptions{Stdout: a.out, Tty: o.TTY}
	if o.Stdin {
		stream.Stdin = a.in
	}
	if o.Stderr {
		stream.Stderr = a.err
	}
	if f, ok := a.in.(*os.File); ok && o.TTY && term.IsTerminal(int(f.Fd())) {
		old, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(f.Fd()), old) }() // the process ends next: nothing could be done
		stream.TerminalSizeQueue = &sizes{file: f}
	}
	err = ws.StreamWithContext(ctx, stream)
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		a.code = exit.ExitStatus()
		return nil
	}
	return err
}

// sizes tells the remote terminal the size of ours, once.
type sizes struct {
	file *os.File
	told bool
}

// Next implements remotecommand.TerminalSizeQueue.
func (s *sizes) Next() *remotecommand.TerminalSize {
	if s.told {
		return nil
	}
	s.told = true
	w, h, err := term.GetSize(int(s.file.Fd()))
	if err != nil {
		return nil
	}
	return &remotecommand.TerminalSize{Width: uint16(w), Height: uint16(h)}
}
