package plans

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"trireme/internal/kind"
	"trireme/internal/object/plan"
	"trireme/internal/store"
	"trireme/internal/whatif"
)

// Path is where plans are served.
var Path = "/apis/" + plan.Group.String() + "/" + plan.Plans.Resource

// bodyMax bounds a question.
const bodyMax = 16 << 20

// Config configures a Handler. All of it is required.
type Config struct {
	Store  *store.Store
	Answer func(context.Context, whatif.Question) (*plan.Status, error)
	// As returns how to call the door in process as a user.
	As func(user.Info) *restclient.Config
	// Kinds are what the door serves from tables.
	Kinds map[schema.GroupVersionKind]Kind
}

// Kind is a kind that the door serves from a table.
type Kind struct {
	Resource schema.GroupVersionResource
	Table    *store.Table[store.Object, any]
}

// Handler answers plans.
type Handler struct{ cfg Config }

// New returns a Handler.
func New(cfg Config) *Handler { return &Handler{cfg} }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	o, err := h.serve(req)
	code := http.StatusCreated
	switch {
	case err != nil:
		status := statusOf(err)
		status.Kind, status.APIVersion = "Status", "v1"
		o, code = status, int(status.Code)
	case req.Method == http.MethodGet:
		code = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // a client that goes away hears nothing
}

func (h *Handler) serve(req *http.Request) (any, error) {
	switch {
	case req.URL.Path == Path && req.Method == http.MethodGet && req.URL.Query().Get("watch") == "":
		return map[string]any{
			"apiVersion": plan.Group.String(), "kind": plan.Kind.Kind + "List", "items": []any{},
			"metadata": metav1.ListMeta{ResourceVersion: h.cfg.Store.Snapshot().Rev().String()},
		}, nil
	case req.URL.Path != Path && req.Method == http.MethodGet:
		return nil, apierrors.NewNotFound(plan.Plans.GroupResource(), req.URL.Path[len(Path)+1:])
	case req.URL.Path != Path || req.Method != http.MethodPost:
		return nil, apierrors.NewMethodNotSupported(plan.Plans.GroupResource(), req.Method)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, req.Body, bodyMax))
	if err != nil {
		return nil, apierrors.NewRequestEntityTooLargeError(err.Error())
	}
	p := &plan.Plan{}
	if err := yaml.UnmarshalStrict(body, p); err != nil {
		return nil, apierrors.NewBadRequest("reading the plan: " + err.Error())
	}
	who, ok := request.UserFrom(req.Context())
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	status, err := h.answer(req.Context(), who, p)
	if err != nil {
		return nil, err
	}
	p.TypeMeta = metav1.TypeMeta{APIVersion: plan.Group.String(), Kind: plan.Kind.Kind}
	p.CreationTimestamp = metav1.Time{Time: time.Now().Truncate(time.Second)}
	p.Status = *status
	return p, nil
}

// answer has the objects admitted and asks what would happen.
func (h *Handler) answer(ctx context.Context, who user.Info, p *plan.Plan) (*plan.Status, error) {
	if errs := faults(p); len(errs) > 0 {
		return nil, apierrors.NewInvalid(plan.Kind.GroupKind(), p.Name, errs)
	}
	config := restclient.CopyConfig(h.cfg.As(who))
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	a := &applier{cfg: h.cfg, client: client, namespace: p.Spec.Namespace}
	if a.namespace == "" {
		a.namespace = metav1.NamespaceDefault
	}
	q := whatif.Question{Drain: p.Spec.Drain}
	for i, raw := range p.Spec.Objects {
		puts, err := a.apply(ctx, raw)
		if err != nil {
			return nil, &inObject{i, err}
		}
		q.Put = append(q.Put, puts...)
	}
	return h.cfg.Answer(ctx, q)
}

func faults(p *plan.Plan) (errs field.ErrorList) {
	spec := field.NewPath("spec")
	if len(p.Spec.Objects)+len(p.Spec.Drain) == 0 {
		errs = append(errs, field.Required(spec, "name objects to apply or nodes to drain"))
	}
	seen := map[string]bool{}
	for i, n := range p.Spec.Drain {
		switch at := spec.Child("drain").Index(i); {
		case n == "":
			errs = append(errs, field.Required(at, "the name of a node"))
		case seen[n]:
			errs = append(errs, field.Duplicate(at, n))
		}
		seen[n] = true
	}
	return errs
}

// inObject is an error about one of the objects.
type inObject struct {
	at  int
	err error
}

func (e *inObject) Error() string { return fmt.Sprintf("spec.objects[%d]: %v", e.at, e.err) }

func (e *inObject) Unwrap() error { return e.err }

// statusOf returns an error as the API says it.
func statusOf(err error) *metav1.Status {
	var s apierrors.APIStatus
	if errors.As(err, &s) {
		out := s.Status()
		out.Message = err.Error()
		return &out
	}
	code := http.StatusInternalServerError
	switch {
	case kind.Is(err, kind.NotFound):
		code = http.StatusNotFound
	case kind.Is(err, kind.Invalid):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), kind.Is(err, kind.Unavailable):
		code = http.StatusServiceUnavailable
	}
	out := apierrors.NewGenericServerResponse(code, "create", plan.Plans.GroupResource(), "", "", 0, true).Status()
	out.Message, out.Details = err.Error(), nil
	return &out
}
