package runtimetest_test

import (
	"context"
	"io"
	"net/url"
	"strings"
	"testing"

	"trireme/internal/runtime"
	"trireme/internal/runtime/runtimetest"
)

func TestFake(t *testing.T) {
	fake := runtime.NewFake(runtime.FakeConfig{
		Images:    []string{"docker.io/trireme/test:1"},
		Behave:    behave,
		Exec:      exec,
		StreamURL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"},
	})
	runtimetest.Run(t, runtimetest.Harness{
		Runtime:  fake,
		Image:    "docker.io/trireme/test:1",
		Archive:  func() io.Reader { return strings.NewReader("docker.io/trireme/imported:1") },
		Imported: "docker.io/trireme/imported:1",
		LogDir:   "/logs",
		Kill:     func(_ *testing.T, id string) { fake.Kill(id, 137, "Error") },
		Limits: func(_ *testing.T, id string) (int64, int64) {
			r := fake.Limits(id)
			return r.MemoryBytes, r.CPUQuota
		},
	})
}

// behave is what the program does, in the fake's words.
func behave(cfg *runtime.ContainerConfig) runtime.FakeBehaviour {
	switch cfg.Command[1] {
	case "exit":
		return runtime.FakeBehaviour{ExitAtOnce: true, ExitCode: int32(cfg.Command[2][0] - '0')}
	case "stubborn":
		return runtime.FakeBehaviour{IgnoreTerm: true}
	}
	return runtime.FakeBehaviour{}
}

func exec(ctx context.Context, _ *runtime.Container, cmd []string) (stdout, stderr []byte, code int, err error) {
	switch cmd[1] {
	case "print":
		return []byte(strings.Join(cmd[2:], " ") + "\n"), nil, 0, nil
	case "exit":
		return nil, nil, int(cmd[2][0] - '0'), nil
	case "await":
		return nil, nil, 0, nil
	}
	<-ctx.Done()
	return nil, nil, 0, nil
}
