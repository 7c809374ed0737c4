package codec

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trireme/internal/kind"
)

// Media is one of the two forms that a message has on the wire.
type Media uint8

// The forms; JSON is preferred.
const (
	JSON Media = iota
	Protobuf
)

// RecordIO is the media type of streams whose messages' own type stands in the
// header Message-Content-Type: those of the agent's attach calls.
const RecordIO = "application/recordio"

// String returns the media type as headers name it.
func (m Media) String() string {
	if m == Protobuf {
		return "application/x-protobuf"
	}
	return "application/json"
}

// Append appends msg in this form.
func (m Media) Append(to []byte, msg proto.Message) ([]byte, error) {
	if m == JSON {
		return AppendJSON(to, msg), nil
	}
	to, err := proto.MarshalOptions{}.MarshalAppend(to, msg)
	if err != nil {
		return to, fmt.Errorf("encoding a %s: %w", msg.ProtoReflect().Descriptor().Name(), err)
	}
	return to, nil
}

// Parse sets msg to data, which has this form. What it refuses is a *Refusal in
// Mesos' words.
func (m Media) Parse(data []byte, msg proto.Message) error {
	d := msg.ProtoReflect().Descriptor()
	if m == Protobuf {
		options := proto.UnmarshalOptions{AllowPartial: true, DiscardUnknown: true, RecursionLimit: depthMax}
		if err := options.Unmarshal(data, msg); err != nil {
			return Refuse(http.StatusBadRequest, "Failed to parse body into %s protobuf", d.Name())
		}
	} else if err := ParseJSON(data, msg); err != nil {
		var syntax *syntaxError
		if errors.As(err, &syntax) {
			return Refuse(http.StatusBadRequest, "Failed to parse body into JSON: %v", err)
		}
		return Refuse(http.StatusBadRequest, "Failed to convert JSON into %s protobuf: %v", d.Name(), err)
	}
	if names := Missing(msg); names != nil {
		return NotValid(msg, "Not initialized: "+strings.Join(names, ", "))
	}
	return nil
}

// Refusal is an answer that is not the one asked for: a status, and words as the
// body. Allow names the methods that a 405 asks for.
type Refusal struct {
	Status int
	Text   string
	Allow  string
}

// Refuse returns a refusal with words formatted as by fmt.Sprintf.
func Refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Text: fmt.Sprintf(format, args...)}
}

// statuses are what errors of a kind are answered with, wherever Mesos' API is spoken.
var statuses = map[kind.Kind]int{
	kind.Internal: http.StatusInternalServerError, kind.NotFound: http.StatusNotFound, kind.Exists: http.StatusConflict,
	kind.Conflict: http.StatusConflict, kind.Invalid: http.StatusBadRequest, kind.Malformed: http.StatusBadRequest,
	kind.Denied: http.StatusForbidden, kind.Unauthenticated: http.StatusUnauthorized, kind.Gone: http.StatusGone,
	kind.Unavailable: http.StatusServiceUnavailable, kind.Exhausted: http.StatusForbidden, kind.TooLarge: http.StatusRequestEntityTooLarge,
	kind.Timeout: http.StatusServiceUnavailable, kind.Unsupported: http.StatusNotImplemented,
}

// RefusalOf returns the refusal that an error is: itself, or its words with its kind's
// status.
func RefusalOf(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return Refuse(statuses[kind.Of(err)], "%v", err)
}

// NotValid refuses a call that breaks a rule: 400 "Failed to validate
// scheduler::Call: why".
func NotValid(call proto.Message, why string) *Refusal {
	return Refuse(http.StatusBadRequest, "Failed to validate %s: %s", cxxName(call.ProtoReflect().Descriptor()), why)
}

// cxxName is how Mesos' own words name a message: mesos.v1.scheduler.Call is
// scheduler::Call.
func cxxName(d protoreflect.MessageDescriptor) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(d.FullName()), "mesos.v1."), ".", "::")
}

func (r *Refusal) Error() string { return r.Text }

// Write answers with the refusal.
func (r *Refusal) Write(w http.ResponseWriter) {
	if r.Allow != "" {
		w.Header().Set("Allow", r.Allow)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(r.Text)))
	w.WriteHeader(r.Status)
	io.WriteString(w, r.Text)
}

// Decode reads the one call that a request is, of at most limit bytes.
func Decode(r *http.Request, call proto.Message, limit int64) error {
	if r.Method != http.MethodPost {
		refusal := Refuse(http.StatusMethodNotAllowed, "Expecting one of { 'POST' }, but received '%s'", r.Method)
		refusal.Allow = http.MethodPost
		return refusal
	}
	media, err := ContentType(r.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return Refuse(http.StatusBadRequest, "Failed to read the body: %v", err)
	}
	if int64(len(body)) > limit {
		return Refuse(http.StatusRequestEntityTooLarge, "Expecting a body of at most %d bytes: send several calls", limit)
	}
	return media.Parse(body, call)
}

// ContentType returns the form that a Content-Type header names; parameters are
// not looked at.
func ContentType(header string) (Media, error) {
	name, _, _ := strings.Cut(header, ";")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case JSON.String():
		return JSON, nil
	case Protobuf.String():
		return Protobuf, nil
	case "":
		return 0, Refuse(http.StatusBadRequest, "Expecting 'Content-Type' to be present")
	}
	return 0, Refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of %s or %s", JSON, Protobuf)
}

// Accept returns the form of an answer to a request whose header of this name
// ("Accept", "Message-Accept") is as it is in h.
func Accept(h http.Header, name string) (Media, error) {
	switch {
	case Accepts(h, name, JSON.String()):
		return JSON, nil
	case Accepts(h, name, Protobuf.String()):
		return Protobuf, nil
	}
	return 0, Refuse(http.StatusNotAcceptable, "Expecting '%s' to allow '%s' or '%s'", name, Protobuf, JSON)
}

// Accepts reports whether the header of this name, which may stand there more than
// once, takes a media type: by itself, as type/* or as */*, in that order, the
// first of which decides. Without the header everything is taken.
func Accepts(h http.Header, name, mediaType string) bool {
	lines := h.Values(name)
	if len(lines) == 0 {
		return true
	}
	ranges := strings.Split(strings.Join(lines, ","), ",")
	kind, _, _ := strings.Cut(mediaType, "/")
	for _, candidate := range []string{mediaType, kind + "/*", "*/*"} {
		for _, one := range ranges {
			name, params, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(name), candidate) {
				return quality(params) > 0
			}
		}
	}
	return false
}

// quality is the q among an Accept range's parameters, 1 where none is there.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
