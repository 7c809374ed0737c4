package cri

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trireme/internal/kind"
)

// byCode is what each gRPC status means to our callers.
var byCode = map[codes.Code]kind.Kind{
	codes.NotFound:           kind.NotFound,
	codes.AlreadyExists:      kind.Exists,
	codes.InvalidArgument:    kind.Invalid,
	codes.FailedPrecondition: kind.Invalid,
	codes.OutOfRange:         kind.Invalid,
	codes.Unimplemented:      kind.Invalid,
	codes.PermissionDenied:   kind.Denied,
	codes.Unauthenticated:    kind.Denied,
	codes.ResourceExhausted:  kind.Exhausted,
	codes.DeadlineExceeded:   kind.Timeout,
	codes.Unavailable:        kind.Unavailable,
	codes.Aborted:            kind.Unavailable,
}

// byText classifies what containerd and CRI-O return as codes.Unknown, or, a
// taken name, as FailedPrecondition. The first fragment that is found decides.
var byText = []struct {
	fragment string
	kind     kind.Kind
}{
	{"is reserved for", kind.Exists}, // containerd's name registrar
	{"name is reserved", kind.Exists},
	{"pull access denied", kind.Denied},
	{"authorization failed", kind.Denied},
	{"401 Unauthorized", kind.Denied},
	{"403 Forbidden", kind.Denied},
	{"no basic auth credentials", kind.Denied},
	{"no space left on device", kind.Exhausted},
	{"too many requests", kind.Exhausted},
	{"429 Too Many Requests", kind.Exhausted},
	{"invalid reference format", kind.Invalid},
	{"no such host", kind.Unavailable},
	{"i/o timeout", kind.Unavailable},
	{"connection refused", kind.Unavailable},
	{"connection reset", kind.Unavailable},
	{"network is unreachable", kind.Unavailable},
	{"no such file or directory", kind.Invalid}, // a command or a mount source that is not there
	{"executable file not found", kind.Invalid},
	{"permission denied", kind.Invalid}, // of the command in the container
	{"not found", kind.NotFound},
}

// classify returns err with its kind and what was being done; nil for nil.
func classify(err error, op, object string) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return &kind.Error{Kind: kind.Internal, Op: op, Object: object, Err: err}
	}
	k, known := byCode[st.Code()]
	if !known || st.Code() == codes.FailedPrecondition {
		k = kindOfText(st.Message(), k)
	}
	cause := error(kind.New(k, "%s", st.Message()))
	if st.Code() == codes.Canceled {
		cause = context.Canceled
	}
	return &kind.Error{Kind: k, Op: op, Object: object, Err: cause}
}

// kindOfText returns what the message's words say, otherwise where they say nothing.
func kindOfText(message string, otherwise kind.Kind) kind.Kind {
	for _, t := range byText {
		if strings.Contains(message, t.fragment) {
			return t.kind
		}
	}
	return otherwise
}

// gone reports whether err says that the object is not there, which is what the
// caller of a stop or removal wants.
func gone(err error) bool { return status.Code(err) == codes.NotFound }
