package fairness

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"trireme/internal/store"
	"trireme/internal/tables"
)

// BenchmarkHandler is what a request costs that need not wait: one of an exempt
// level, and one of a limited one.
func BenchmarkHandler(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{Now: time.Now, NewID: func() types.UID { return "1" }}, tables.Defs()...)
	if err != nil {
		b.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(&rest.Config{Host: "https://nobody.invalid"})
	if err != nil {
		b.Fatal(err)
	}
	h := New(s, client, 600).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		func(*http.Request, *request.RequestInfo) bool { return false }, time.Second)
	for name, who := range map[string]*user.DefaultInfo{
		"exempt":  {Name: "admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
		"limited": {Name: "jane", Groups: []string{user.AllAuthenticated}},
	} {
		b.Run(name, func(b *testing.B) {
			info := &request.RequestInfo{IsResourceRequest: true, Verb: "get", APIVersion: "v1", Resource: "configmaps", Namespace: "default", Name: "c"}
			ctx := request.WithUser(request.WithRequestInfo(b.Context(), info), who)
			req := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/namespaces/default/configmaps/c", nil)
			for b.Loop() {
				rec := httptest.NewRecorder()
				if h.ServeHTTP(rec, req); rec.Code != http.StatusOK {
					b.Fatal(rec.Code)
				}
			}
		})
	}
}
