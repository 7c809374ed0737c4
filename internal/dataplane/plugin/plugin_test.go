package plugin

import (
	"bytes"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func run(t *testing.T, command, config string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	env := map[string]string{"CNI_COMMAND": command, "CNI_CONTAINERID": "c", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0", "CNI_ARGS": "A=b"}
	code := Main(func(k string) string { return env[k] }, strings.NewReader(config), &out)
	return strings.TrimSpace(out.String()), code
}

func TestWithoutAgent(t *testing.T) {
	socket := `{"cniVersion":"1.1.0","socket":"` + filepath.Join(t.TempDir(), "none.sock") + `"}`
	for _, c := range []struct {
		command, config, want string
		code                  int
	}{
		{"VERSION", `{"cniVersion":"1.1.0"}`, `{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}`, 0},
		{"DEL", socket, "", 0},
		{"ADD", `{`, `{"code":6,"msg":"decoding the configuration","details":"unexpected end of JSON input"}`, 1},
	} {
		if got, code := run(t, c.command, c.config); got != c.want || code != c.code {
			t.Errorf("%s: %d %s, want %d %s", c.command, code, got, c.code, c.want)
		}
	}
}

func TestCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := []Response{{Result: json.RawMessage(`{"ok":1}`)}, {Error: &Error{Code: 50, Msg: "no"}}}
	asked := make(chan Request, len(answers))
	go func() {
		for _, a := range answers {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			var r Request
			if err := json.NewDecoder(c).Decode(&r); err != nil {
				t.Error(err)
			}
			asked <- r
			if err := json.NewEncoder(c).Encode(a); err != nil {
				t.Error(err)
			}
			c.Close()
		}
	}()
	config := `{"cniVersion":"1.1.0","socket":"` + path + `","cni.dev/valid-attachments":[{"containerID":"x","ifname":"eth0"}]}`
	if out, code := run(t, "GC", config); code != 0 || out != `{"ok":1}` {
		t.Errorf("%d %s", code, out)
	}
	r := <-asked
	if r.Command != "GC" || r.ContainerID != "c" || r.NetNS != "/n" || r.IfName != "eth0" || r.Args != "A=b" || r.Config.Valid[0].ContainerID != "x" {
		t.Errorf("asked %+v", r)
	}
	if out, code := run(t, "STATUS", config); code != 1 || out != `{"code":50,"msg":"no"}` {
		t.Errorf("%d %s", code, out)
	}
}
