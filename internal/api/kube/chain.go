package kube

import (
	"net/http"

	"k8s.io/apimachinery/pkg/util/sets"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"trireme/internal/api/kube/view"
)

// chain is what every request passes before its handler: the library's filters
// less those that cost a goroutine or do nothing here (the timeout filter, CORS,
// tracing). Without a policy, audit costs nothing.
func (s *Server) chain(api http.Handler, c *genericapiserver.Config) http.Handler {
	h := genericapifilters.WithAuthorization(view.Direct(s.short(api)), c.Authorization.Authorizer, c.Serializer)
	h = s.fair.Handler(h, c.LongRunningFunc, c.RequestTimeout/4)
	h = impersonation.WithImpersonation(h, c.Authorization.Authorizer, c.Serializer)
	h = genericapifilters.WithAudit(h, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc)
	unknown := genericapifilters.WithFailedAuthenticationAudit(genericapifilters.Unauthorized(c.Serializer), c.AuditBackend, c.AuditPolicyRuleEvaluator)
	h = genericapifilters.WithAuthentication(h, c.Authentication.Authenticator, unknown, c.Authentication.APIAudiences, c.Authentication.RequestHeaderConfig)
	h = genericapifilters.WithWarningRecorder(h)
	h = genericapifilters.WithRequestDeadline(h, nil, nil, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	h = genericfilters.WithWaitGroup(h, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	h = genericapifilters.WithCacheControl(h)
	h = genericapifilters.WithRequestInfo(h, c.RequestInfoResolver)
	h = genericapifilters.WithRequestReceivedTimestamp(h)
	h = genericfilters.WithPanicRecovery(h, c.RequestInfoResolver)
	return genericapifilters.WithAuditInit(h)
}

// short answers plain reads and creates the short way, but for reads whose answers
// the audit policy wants written down, and creates of which it wants anything.
func (s *Server) short(api http.Handler) http.Handler {
	writes := s.writes.Handler(api)
	reads := s.reads.Handler(writes)
	if s.cfg.Audit == nil {
		return reads
	}
	readsOnly := s.reads.Handler(api)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		a := audit.AuditContextFrom(req.Context())
		switch {
		case !a.Enabled():
			reads.ServeHTTP(w, req)
		case a.GetEventLevel().Less(auditinternal.LevelRequestResponse):
			readsOnly.ServeHTTP(w, req)
		default:
			api.ServeHTTP(w, req)
		}
	})
}

// longRunning reports whether a request may last: watches and streams.
var longRunning = genericfilters.BasicLongRunningRequestCheck(
	sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
