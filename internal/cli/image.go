package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/object"
)

// nodeImage is an image as an agent's /images lists it.
type nodeImage struct {
	ID        string   `json:"id"`
	Names     []string `json:"names"`
	SizeBytes int64    `json:"sizeBytes"`
	Pinned    bool     `json:"pinned"`
	Node      string   `json:"node"`
}

func (a *app) imageCommand() *cobra.Command {
	c := &cobra.Command{Use: "image", Short: "The images on the nodes"}
	node := ""
	imp := &cobra.Command{
		Use:   "import ARCHIVE",
		Short: "Bring an image from a file to the nodes (docker save or OCI archive; - is standard input)",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.imageImport(cmd.Context(), args[0], node) },
	}
	imp.Flags().StringVar(&node, "node", "", "only to this node (default: to every node)")
	ls := &cobra.Command{
		Use: "ls", Short: "List the images", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.imageLs(cmd.Context(), node) },
	}
	ls.Flags().StringVar(&node, "node", "", "only of this node")
	a.outputFlag(ls)
	c.AddCommand(imp, ls, a.pushCommand(), a.imageRmCommand())
	return c
}

// reachable returns the named node, or every one that is up; it says which are
// left out.
func (a *app) reachable(ctx context.Context, cs kubernetes.Interface, only string) ([]string, error) {
	if only != "" {
		_, err := cs.CoreV1().Nodes().Get(ctx, only, metav1.GetOptions{})
		return []string{only}, err
	}
	nodes, err := cs.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range nodes.Items {
		if n := &nodes.Items[i]; !object.NodeReady(n) {
			fmt.Fprintf(a.err, "%s is not ready: left out\n", n.Name)
			continue
		}
		names = append(names, nodes.Items[i].Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no node is up: `trireme up` or `trireme join` on a machine adds one")
	}
	return names, nil
}

func (a *app) imageImport(ctx context.Context, path, only string) error {
	config, _, err := a.clientConfig()
	if err != nil {
		return err
	}
	cs, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	nodes, err := a.reachable(ctx, cs, only)
	if err != nil {
		return err
	}
	if path == "-" && len(nodes) > 1 {
		tmp, err := os.CreateTemp("", "trireme-image-*.tar")
		if err != nil {
			return err
		}
		defer os.Remove(tmp.Name())
		if _, err := io.Copy(tmp, a.in); err != nil {
			return fmt.Errorf("reading standard input: %w", err)
		}
		if err := tmp.Close(); err != nil {
			return err
		}
		path = tmp.Name()
	}
	p := newProgress(a.err)
	defer p.Done()
	for _, node := range nodes {
		p.say("importing on %s", node)
		names, err := a.importOn(ctx, config, node, path)
		if err != nil {
			return fmt.Errorf("importing %s on %s: %w", path, node, err)
		}
		fmt.Fprintf(a.out, "%s: %s\n", node, strings.Join(names, ", "))
	}
	return nil
}

func (a *app) importOn(ctx context.Context, config *rest.Config, node, path string) ([]string, error) {
	var body io.ReadCloser
	if path == "-" {
		body = io.NopCloser(a.in)
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		body = f
	}
	defer body.Close()
	return a.importFrom(ctx, config, node, body)
}

// importFrom brings the images of an archive to a node and returns their names.
func (a *app) importFrom(ctx context.Context, config *rest.Config, node string, body io.Reader) ([]string, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, nodeProxy(config, node, "images/import"), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-tar")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", strings.TrimSpace(string(b)))
	}
	var out struct {
		Names []string `json:"names"`
	}
	return out.Names, json.Unmarshal(b, &out)
}

// nodeProxy returns the URL of an agent's page, through the API.
func nodeProxy(config *rest.Config, node, path string) string {
	return strings.TrimSuffix(config.Host, "/") + "/api/v1/nodes/" + url.PathEscape(node) + "/proxy/" + path
}

func (a *app) imageLs(ctx context.Context, only string) error {
	cs, _, err := a.client()
	if err != nil {
		return err
	}
	nodes, err := a.reachable(ctx, cs, only)
	if err != nil {
		return err
	}
	t := table{columns: []string{"IMAGE", "SIZE", "NODE", "ID*"}}
	var all []nodeImage
	for _, node := range nodes {
		b, err := cs.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("images").DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("images of %s: %w", node, err)
		}
		var images []nodeImage
		if err := json.Unmarshal(b, &images); err != nil {
			return fmt.Errorf("images of %s: %w", node, err)
		}
		slices.SortFunc(images, func(x, y nodeImage) int {
			return strings.Compare(strings.Join(x.Names, ","), strings.Join(y.Names, ","))
		})
		for _, i := range images {
			i.Node = node
			all = append(all, i)
			t.add(orDash(strings.Join(i.Names, ", ")), size(i.SizeBytes), node, i.ID)
		}
	}
	return a.print(all, t)
}
