package cli

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestDockerSave: what this machine's docker has is taken from its socket, by its
// whole name; no docker and no image there are no faults, an answer that says why is.
func TestDockerSave(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	docker := http.NewServeMux()
	docker.HandleFunc("GET /images/{name}/get", func(w http.ResponseWriter, r *http.Request) {
		switch r.PathValue("name") {
		case "docker.io/library/web:1":
			_, _ = io.WriteString(w, "a tar") // the client sees what is missing
		case "docker.io/library/broken:1":
			http.Error(w, `{"message":"the disk is on fire"}`, http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
	})
	srv := &http.Server{Handler: docker}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}()
	for _, tt := range []struct{ host, image, want, fault string }{
		{"unix://" + socket, "docker.io/library/web:1", "a tar", ""},
		{"unix://" + socket, "docker.io/library/other:1", "", ""},
		{"unix://" + socket, "docker.io/library/broken:1", "", "the disk is on fire"},
		{"unix://" + socket + ".none", "docker.io/library/web:1", "", ""},
		{"tcp://127.0.0.1:1", "docker.io/library/web:1", "", ""}, // another machine's: what it has is not here
	} {
		t.Setenv("DOCKER_HOST", tt.host)
		body, err := dockerSave(t.Context(), tt.image)
		if fault := err != nil; fault != (tt.fault != "") || fault && !strings.Contains(err.Error(), tt.fault) {
			t.Errorf("%s at %s: error %v, want %q", tt.image, tt.host, err, tt.fault)
		}
		got := ""
		if body != nil {
			b, err := io.ReadAll(body)
			if err != nil {
				t.Error(err)
			}
			body.Close()
			got = string(b)
		}
		if got != tt.want {
			t.Errorf("%s at %s: %q, want %q", tt.image, tt.host, got, tt.want)
		}
	}
}
