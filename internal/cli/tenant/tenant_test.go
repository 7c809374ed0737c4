package tenant

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"trireme/internal/cli/program"
	"trireme/internal/object/tenant"
)

// desk runs commands against objects in memory.
type desk struct {
	t   *testing.T
	cs  kubernetes.Interface
	dyn dynamic.Interface
}

func newDesk(t *testing.T, objects ...runtime.Object) *desk {
	return &desk{t, fake.NewClientset(objects...), dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{tenant.Tenants: "TenantList"})}
}

func (d *desk) do(args ...string) (string, error) {
	d.t.Helper()
	var out bytes.Buffer
	c := Command(program.Env{
		Out: &out, Flag: func(*cobra.Command) {},
		Connect: func() (kubernetes.Interface, dynamic.Interface, error) { return d.cs, d.dyn, nil },
		Table: func(_ any, _ []string, rows [][]string) error {
			for _, r := range rows {
				fmt.Fprintln(&out, strings.Join(r, " "))
			}
			return nil
		},
	})
	c.SetArgs(args)
	c.SetOut(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(d.t.Context())
	return out.String(), err
}

func TestTenants(t *testing.T) {
	ask := corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi")}
	pod := func(ns, name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.PodSpec{NodeName: "n", Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: ask}}}}}
	}
	d := newDesk(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"cpu": resource.MustParse("10"), "memory": resource.MustParse("100Gi")}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "idle"}},
		pod("default", "a"), pod("web", "b"), pod("web", "c"))
	for _, c := range []struct{ args, out, wrong string }{
		{"weight web 2", "web counts 2\n", ""},
		{"path web eng/web", "web stands at eng/web\n", ""},
		{"quota eng --limit cpu=4,memory=8Gi", "eng has its quota\n", ""},
		{"ls", "default * 1 20.0% 1 2 1Gi - -\neng eng 1 40.0% 0 4 2Gi - cpu=4,memory=8Gi\nweb eng/web 2 20.0% 2 4 2Gi - -\n", ""},
		{"quota eng --none", "eng has its quota\n", ""},
		{"quota vip --guarantee cpu=1", "vip has its quota\n", ""},
		{"weight a/b 3", "a/b counts 3\n", ""},
		{"quota vip --limit cpu=500m", "", "the guarantee of cpu, 1, is more than its limit, 500m"},
		{"quota vip --limit cpu", "", "--limit: \"cpu\" is not of the form RESOURCE=QUANTITY"},
		{"quota vip --limit cpu=-1", "", "--limit: \"cpu=-1\""},
		{"quota vip", "", "say --limit, --guarantee or --none"},
		{"weight web 0", "", "\"0\" is no weight"},
		{"weight web NaN", "", "\"NaN\" is no weight"},
	} {
		out, err := d.do(strings.Fields(c.args)...)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: error %v, want %q", c.args, err, c.wrong)
			}
			continue
		}
		if err != nil || out != c.out {
			t.Errorf("%s printed\n%s(%v), want\n%s", c.args, out, err, c.out)
		}
	}
}
