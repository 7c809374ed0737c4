package plugin

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzMain: whatever configuration the runtime hands in, the plugin answers JSON.
func FuzzMain(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","name":"n","type":"trireme-cni"}`))
	f.Add([]byte(`{"prevResult":7}`))
	f.Add([]byte(`x`))
	f.Fuzz(func(t *testing.T, in []byte) {
		env := func(name string) string {
			if name == "CNI_COMMAND" {
				return "VERSION" // the others call the agent
			}
			return ""
		}
		var out bytes.Buffer
		if code := Main(env, bytes.NewReader(in), &out); !json.Valid(out.Bytes()) {
			t.Errorf("%d: %s", code, out.Bytes())
		}
	})
}
