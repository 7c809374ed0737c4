package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"trireme/internal/server"
)

// TestBecause: who waits for a node that is not ready hears why.
func TestBecause(t *testing.T) {
	for message, c := range map[string]corev1.NodeCondition{
		"":               {Type: corev1.NodeReady, Status: corev1.ConditionTrue, Message: "all is well"},
		": no plugins":   {Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "no plugins"},
		": nobody knows": {Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "nobody knows"},
	} {
		n := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse, Message: "plenty"}, c,
		}}}
		if got := because(n); got != message {
			t.Errorf("%s: %q, want %q", c.Status, got, message)
		}
	}
}

// TestSchedulerConfig: what cannot be honoured of how pods are placed is refused before anything starts.
func TestSchedulerConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	base := server.Default()
	base.Node, base.Address, base.Manager.SchedulerConfig = "n", "127.0.0.1", file
	for text, want := range map[string]string{
		"":             "no such file",
		"profiles: []": "",
		"profiles: [{plugins: {score: {enabled: [{name: Mine}]}}}]": `profiles[0].plugins.score.enabled[0].name: "Mine"`,
	} {
		if text != "" {
			text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n" + text
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		cfg := base
		err := cfg.Complete()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
