package test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerFiles: tasks have secrets and configs where their user wants them and as
// whose, expanded where they are templates; a stack's service may use those of others;
// new content rolls a service that follows it.
func TestDockerFiles(t *testing.T) {
	h := machine(t)
	d, k := newDocker(t, h), newClient(t, h)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Cleanup(func() {
		d.quietly("service", "rm", "dfiles", "dfstack_web")
		d.quietly("secret", "rm", "dpassword")
		d.quietly("config", "rm", "Dfiles.conf")
		_, _ = k.run(context.Background(), "", "delete", "namespace", "dfstack", "--ignore-not-found", "--wait=false")
	})
	d.must("secret", "create", "--label", "team=red", "dpassword", file("p", "s3cret"))
	d.must("config", "create", "--template-driver", "golang", "Dfiles.conf", file("c", "slot {{.Task.Slot}} of {{.Service.Name}} has {{secret \"pw\"}} and {{env \"WORD\"}}\n"))
	d.refused("name conflicts with an existing object", "secret", "create", "dpassword", file("p", "x"))
	d.refused("secret data must be larger than 0 and less than 512000 bytes", "secret", "create", "dlarge", file("p", strings.Repeat("x", 512000)))
	d.refused("only 64 [a-zA-Z0-9-_.] characters", "config", "create", ".conf", file("c", "x"))
	if out := d.must("secret", "ls", "--filter", "label=team=red", "--format", "{{.Name}} {{.Labels}}"); out != "dpassword team=red" {
		t.Errorf("docker secret ls: %s", out)
	}
	if out := d.must("secret", "inspect", "dpassword"); strings.Contains(out, "Data") || !strings.Contains(out, "dpassword") {
		t.Errorf("docker secret inspect tells the content: %s", out)
	}
	if out := d.must("config", "inspect", "--pretty", "Dfiles.conf"); !strings.Contains(out, "slot {{.Task.Slot}}") {
		t.Errorf("docker config inspect: %s", out)
	}
	const show = `stat -c '%n %a %u:%g' /run/secrets/pw /etc/app/app.conf; cat /run/secrets/pw /etc/app/app.conf; sleep 1000`
	d.must("service", "create", "--name", "dfiles", "--detach", "--no-resolve-image", "--label", "trireme.dev/follow-content=true", "--env", "WORD=more",
		"--secret", "source=dpassword,target=pw,uid=1000,gid=1001,mode=0400", "--config", "source=Dfiles.conf,target=/etc/app/app.conf", "--stop-grace-period", "1s",
		busybox, "sh", "-c", show)
	for _, words := range []string{"/run/secrets/pw 400 1000:1001", "/etc/app/app.conf 444 0:0", "slot 1 of dfiles has s3cret and more"} {
		d.says(words, "service", "logs", "--raw", "dfiles")
	}
	d.refused("secret 'dpassword' is in use by the following service: dfiles", "secret", "rm", "dpassword")
	d.refused("config 'Dfiles.conf' is in use by the following service: dfiles", "config", "rm", "Dfiles.conf")

	k.must("-n", "default", "patch", "secret", "dpassword", "-p", `{"stringData":{"data":"n3w"}}`)
	d.says("slot 1 of dfiles has n3w and more", "service", "logs", "--raw", "dfiles")

	d.must("service", "create", "--name", "dfstack_web", "--label", "com.docker.stack.namespace=dfstack", "--detach", "--no-resolve-image", "--secret", "dpassword", "--stop-grace-period", "1s",
		busybox, "sh", "-c", "cat /run/secrets/dpassword; echo; sleep 1000")
	d.says("n3w", "service", "logs", "--raw", "dfstack_web")
	d.must("service", "update", "--detach", "--secret-rm", "dpassword", "--update-monitor", "1s", "dfstack_web")
	d.says("completed", "service", "inspect", "dfstack_web", "--format", "{{.UpdateStatus.State}}") // else its end comes between
	d.must("service", "update", "--detach", "--label-add", "a=b", "dfstack_web")
	if out := k.must("-n", "dfstack", "get", "secrets", "-o", "name"); strings.Contains(out, "web-") {
		t.Errorf("a copy that no spec refers to is left: %s", out)
	}
	d.must("service", "rm", "dfiles", "dfstack_web")
	d.must("secret", "rm", "dpassword")
	d.must("config", "rm", "Dfiles.conf")
}
