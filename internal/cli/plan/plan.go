// Package plan is the commands `trireme plan` and `trireme drain`: what would happen, without touching
// anything, and to let it happen to a node. It asks plans.trireme.dev (internal/whatif answers).
package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"trireme/internal/object/plan"
	"trireme/internal/tables"
)

// Env is what the command has of the program that it is of.
type Env struct {
	In  io.Reader
	Out io.Writer
	// Connect returns a client and the namespace meant.
	Connect func() (dynamic.Interface, string, error)
	Client  func() (kubernetes.Interface, error)
	// Progress returns how to say how far something is, and what ends that.
	Progress func() (say func(format string, args ...any), done func())
	// Table prints data as the user asked for, and reports whether for a person; Flag adds the choice to a command.
	Table func(data any, columns []string, rows [][]string) (person bool, err error)
	Flag  func(*cobra.Command)
}

// ErrNoFit is why the command fails where not everything would run.
var ErrNoFit = errors.New("not everything would run")

// Command returns `plan`.
func Command(env Env) *cobra.Command {
	var files []string
	c := &cobra.Command{
		Use: "plan -f FILE", Short: "Where pods would go, and what would not fit, without touching anything",
		Long: `Say what would happen if the objects of a manifest were applied: where their pods would go, which
pods would have to leave for them, which would not fit and why. Nothing is written. The exit code is 1
where not everything would run.`,
		Example: "  trireme plan -f web.yaml\n  kubectl create deployment web --image i --replicas 50 --dry-run=client -o yaml | trireme plan -f -",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec := plan.Spec{}
			for _, f := range files {
				objects, err := read(env.In, f)
				if err != nil {
					return err
				}
				spec.Objects = append(spec.Objects, objects...)
			}
			return env.Ask(cmd.Context(), spec)
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "manifest, folder of manifests, or - for stdin; may be given more than once")
	env.Flag(c)
	if err := c.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag was added two lines above
	}
	return c
}

// read returns the objects of a manifest, or of those in a folder.
func read(in io.Reader, name string) (objects []json.RawMessage, err error) {
	if name == "-" {
		return decode(in, "stdin")
	}
	files := []string{name}
	if st, err := os.Stat(name); err != nil {
		return nil, err
	} else if st.IsDir() {
		files = nil
		for _, ending := range []string{"*.yaml", "*.yml", "*.json"} {
			some, err := filepath.Glob(filepath.Join(name, ending))
			if err != nil {
				return nil, err
			}
			files = append(files, some...)
		}
		slices.Sort(files)
	}
	for _, f := range files {
		r, err := os.Open(f)
		if err != nil {
			return nil, err
		}
		some, err := decode(r, f)
		r.Close()
		if err != nil {
			return nil, err
		}
		objects = append(objects, some...)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("%s: there is no object in it", name)
	}
	return objects, nil
}

func decode(r io.Reader, name string) (objects []json.RawMessage, err error) {
	d := utilyaml.NewYAMLOrJSONDecoder(r, 4096)
	for {
		var o map[string]any
		switch err := d.Decode(&o); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		case len(o) == 0:
			continue
		case o["kind"] == nil || o["apiVersion"] == nil:
			return nil, fmt.Errorf("%s: an object without kind or apiVersion: it is no manifest (a Compose file is deployed with `trireme stack deploy`)", name)
		}
		b, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		objects = append(objects, b)
	}
}

// Ask asks one question and prints the answer.
func (env Env) Ask(ctx context.Context, spec plan.Spec) error {
	client, namespace, err := env.Connect()
	if err != nil {
		return err
	}
	if spec.Namespace == "" {
		spec.Namespace = namespace
	}
	u, err := tables.Unstructured(plan.Kind, &plan.Plan{ObjectMeta: metav1.ObjectMeta{Name: "plan"}, Spec: spec})
	if err != nil {
		return err
	}
	if u, err = client.Resource(plan.Plans).Create(ctx, u, metav1.CreateOptions{}); err != nil {
		return err
	}
	answer := &plan.Plan{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, answer); err != nil {
		return err
	}
	st := &answer.Status
	person, err := env.Table(st, []string{"OF", "PODS", "NODE", "WHY"}, rows(st))
	if err != nil {
		return err
	}
	if person {
		fmt.Fprintln(env.Out, summary(st))
	}
	if !st.Fits {
		return ErrNoFit
	}
	return nil
}

// rows are the lines of an answer: pods of one object that go to one node, or wait for one reason, are a line.
func rows(st *plan.Status) (out [][]string) {
	type line struct{ of, node, why string }
	var order []line
	counts := map[line]int{}
	add := func(l line) {
		if counts[l] == 0 {
			order = append(order, l)
		}
		counts[l]++
	}
	for _, p := range st.Pods {
		add(line{p.Of.String(), p.Node, p.Why})
	}
	for _, p := range st.Preempted {
		add(line{p.Of.String(), p.Node, "would be preempted"})
	}
	for _, p := range st.Replaced {
		why := "would go"
		if p.Lost {
			why = "would be lost: nothing makes it again"
		}
		add(line{p.Of.String(), p.Node, why})
	}
	for _, p := range st.Blocked {
		add(line{p.Of.String(), p.Node, "stays: " + p.Why})
	}
	for _, l := range order {
		node := l.node
		if node == "" {
			node = "-"
		}
		out = append(out, []string{l.of, fmt.Sprint(counts[l]), node, l.why})
	}
	for _, r := range st.Refused {
		out = append(out, []string{r.Ref.String(), "0", "-", "refused: " + r.Why})
	}
	return out
}

// summary is an answer in one sentence.
func summary(st *plan.Status) string {
	placed := 0
	for _, p := range st.Pods {
		if p.Node != "" {
			placed++
		}
	}
	parts := []string{fmt.Sprintf("%d of %d pods would get a node", placed, len(st.Pods))}
	for _, c := range []struct {
		n    int
		what string
	}{{st.Kept, "are there already and stay"}, {len(st.Preempted), "would be preempted"}, {len(st.Replaced), "would go"}, {len(st.Blocked), "may not be evicted"}, {len(st.Refused), "refusals by policy"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return strings.Join(parts, ", ")
}
