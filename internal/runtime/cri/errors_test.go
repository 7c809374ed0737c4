package cri

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trireme/internal/kind"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		code    codes.Code
		message string
		want    kind.Kind
	}{
		{codes.NotFound, "container x", kind.NotFound},
		{codes.Unavailable, "dial unix: connect: no such file or directory", kind.Unavailable},
		{codes.DeadlineExceeded, "timed out", kind.Timeout},
		{codes.FailedPrecondition, `failed to reserve sandbox name "a": name "a" is reserved for "b"`, kind.Exists},
		{codes.FailedPrecondition, "sandbox is not ready", kind.Invalid},
		{codes.Unknown, `failed to reserve sandbox name "a": name "a" is reserved for "b"`, kind.Exists},
		{codes.Unknown, "failed to pull: pull access denied, repository does not exist or may require authorization", kind.Denied},
		{codes.Unknown, "failed to do request: Head: dial tcp: lookup r.example: no such host", kind.Unavailable},
		{codes.Unknown, "write /x: no space left on device", kind.Exhausted},
		{codes.Unknown, `exec: "/nothing": stat /nothing: no such file or directory`, kind.Invalid},
		{codes.Unknown, "something new", kind.Internal},
	} {
		err := classify(status.Error(c.code, c.message), "doing", "it")
		if !kind.Is(err, c.want) {
			t.Errorf("%v %q: %v, want %v", c.code, c.message, kind.Of(err), c.want)
		}
	}
	if classify(nil, "doing", "") != nil {
		t.Error("no error became one")
	}
	if err := classify(status.FromContextError(context.Canceled).Err(), "doing", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call: %v", err)
	}
}
