package provider

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	credentialv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"

	"trireme/internal/kind"
)

const (
	// runTimeout is how long a program may take, as with a kubelet.
	runTimeout = time.Minute
	// outputMax bounds what a program may write.
	outputMax = 1 << 20
	// complaintMax is how much of a program's complaint is told.
	complaintMax = 512
)

// run asks the program.
func (one *plugin) run(ctx context.Context, req *credentialv1.CredentialProviderRequest) (*credentialv1.CredentialProviderResponse, error) {
	in, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	out, complaint := bounded{max: outputMax}, bounded{max: complaintMax}
	cmd := exec.CommandContext(limited, one.path, one.spec.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &complaint
	cmd.Env, cmd.WaitDelay = os.Environ(), time.Second
	for _, e := range one.spec.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, kind.New(kind.Timeout, "it did not answer for %s", runTimeout)
	case err != nil:
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.kept))
	case out.more:
		return nil, kind.New(kind.Malformed, "it answered with more than %d bytes", outputMax)
	}
	return read(out.kept)
}

// read reads a program's answer.
func read(b []byte) (*credentialv1.CredentialProviderResponse, error) {
	var resp credentialv1.CredentialProviderResponse
	if err := json.Unmarshal(b, &resp); err != nil {
		return nil, kind.New(kind.Malformed, "its answer is no JSON: %v", err)
	}
	if want := credentialv1.SchemeGroupVersion.String(); resp.APIVersion != want || resp.Kind != "CredentialProviderResponse" {
		return nil, kind.New(kind.Malformed, "its answer is %s %s instead of %s CredentialProviderResponse", resp.APIVersion, resp.Kind, want)
	}
	if !slices.Contains(cacheKeyTypes, resp.CacheKeyType) {
		return nil, kind.New(kind.Malformed, "its answer's cacheKeyType %q is none of %v", resp.CacheKeyType, cacheKeyTypes)
	}
	return &resp, nil
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	kept []byte
	max  int
	more bool // than that were written
}

// Write implements io.Writer; it takes everything.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.max - len(b.kept)
	b.more = b.more || len(p) > room
	b.kept = append(b.kept, p[:min(len(p), room)]...)
	return len(p), nil
}
