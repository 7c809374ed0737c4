package identity

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	certutil "k8s.io/client-go/util/cert"
)

// Proxy says which front proxies are believed, and what the door's own aggregator
// shows as one (Kubernetes, "Authenticating Proxy", "Configure the Aggregation
// Layer").
type Proxy struct {
	CAFile       string   `json:"clientCAFile"` // of the proxies' certificates; empty: the aggregator's alone
	AllowedNames []string `json:"allowedNames"` // common names of theirs; empty: all that CAFile signed
	// Headers in which they name the caller; the first that is there counts.
	UsernameHeaders []string `json:"usernameHeaders"` // [X-Remote-User]
	UIDHeaders      []string `json:"uidHeaders"`      // [X-Remote-Uid]
	GroupHeaders    []string `json:"groupHeaders"`    // [X-Remote-Group]
	ExtraPrefixes   []string `json:"extraPrefixes"`   // [X-Remote-Extra-]
	// CertFile and KeyFile are what the aggregator shows instead of a certificate of
	// the cluster's making; CAFile must verify it.
	CertFile string `json:"certFile"`
	KeyFile  string `json:"keyFile"`
}

// Front believes what the headers of front proxies say.
type Front struct {
	cfg     Proxy
	pem     []byte
	roots   []*x509.Certificate
	headers authenticator.Request
}

func openFront(cfg Proxy, own Cluster) (*Front, error) {
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, invalid("requestHeader.certFile", "--proxy-client-cert-file and --proxy-client-key-file go together")
	}
	if cfg.CertFile != "" && cfg.CAFile == "" {
		return nil, invalid("requestHeader.clientCAFile", "--proxy-client-cert-file needs --requestheader-client-ca-file, by which aggregated servers verify it")
	}
	for field, headers := range map[string][]string{
		"usernameHeaders": cfg.UsernameHeaders, "uidHeaders": cfg.UIDHeaders, "groupHeaders": cfg.GroupHeaders,
		"extraPrefixes": cfg.ExtraPrefixes, "allowedNames": cfg.AllowedNames,
	} {
		if slices.ContainsFunc(headers, func(s string) bool { return strings.TrimSpace(s) == "" }) {
			return nil, invalid("requestHeader."+field, "has an empty entry")
		}
	}
	if len(cfg.UsernameHeaders) == 0 {
		return nil, invalid("requestHeader.usernameHeaders", "--requestheader-username-headers names no header: nobody could be named")
	}
	f := &Front{cfg: cfg}
	if cfg.CAFile != "" {
		var err error
		if f.pem, err = os.ReadFile(cfg.CAFile); err != nil {
			return nil, invalid("requestHeader.clientCAFile", "--requestheader-client-ca-file: %w", err)
		}
	}
	if cfg.CertFile == "" { // then the aggregator shows a certificate of the cluster's own
		f.pem = append(f.pem, own.ProxyCA...)
		if cfg.CAFile == "" || len(cfg.AllowedNames) > 0 {
			f.cfg.AllowedNames = append(slices.Clone(cfg.AllowedNames), own.ProxyName)
		}
	}
	var err error
	if f.roots, err = certutil.ParseCertsPEM(f.pem); err != nil {
		return nil, invalid("requestHeader.clientCAFile", "--requestheader-client-ca-file %s: %w", cfg.CAFile, err)
	}
	f.headers, err = headerrequest.New(cfg.UsernameHeaders, cfg.UIDHeaders, cfg.GroupHeaders, cfg.ExtraPrefixes)
	return f, err
}

// AuthenticateRequest implements authenticator.Request. The handshake has verified
// the certificate; it must be one of a proxy's authority.
func (f *Front) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	if req.TLS == nil {
		return nil, false, nil
	}
	for _, chain := range req.TLS.VerifiedChains {
		if !slices.ContainsFunc(f.roots, chain[len(chain)-1].Equal) {
			continue
		}
		leaf := chain[0]
		if time.Now().After(leaf.NotAfter) {
			return nil, false, fmt.Errorf("the certificate of the front proxy %s ended at %s", leaf.Subject, leaf.NotAfter)
		}
		if names := f.cfg.AllowedNames; len(names) > 0 && !slices.Contains(names, leaf.Subject.CommonName) {
			return nil, false, fmt.Errorf("the front proxy %q is not one of those that are allowed: %q", leaf.Subject.CommonName, names)
		}
		return f.headers.AuthenticateRequest(req)
	}
	return nil, false, nil
}

// HeaderConfig names the headers that no request may carry past authentication.
func (f *Front) HeaderConfig() *authenticatorfactory.RequestHeaderConfig {
	return &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders: headerrequest.StaticStringSlice(f.cfg.UsernameHeaders), UIDHeaders: headerrequest.StaticStringSlice(f.cfg.UIDHeaders),
		GroupHeaders: headerrequest.StaticStringSlice(f.cfg.GroupHeaders), ExtraHeaderPrefixes: headerrequest.StaticStringSlice(f.cfg.ExtraPrefixes),
	}
}

// Published returns what aggregated servers are told about front proxies, the data
// of ConfigMap kube-system/extension-apiserver-authentication.
func (f *Front) Published() map[string]string {
	data := map[string]string{"requestheader-client-ca-file": string(f.pem)}
	for name, list := range map[string][]string{
		"requestheader-allowed-names": f.cfg.AllowedNames, "requestheader-username-headers": f.cfg.UsernameHeaders,
		"requestheader-uid-headers": f.cfg.UIDHeaders, "requestheader-group-headers": f.cfg.GroupHeaders,
		"requestheader-extra-headers-prefix": f.cfg.ExtraPrefixes,
	} {
		if list == nil {
			list = []string{}
		}
		b, err := json.Marshal(list)
		if err != nil {
			panic(err) // strings always marshal
		}
		data[name] = string(b)
	}
	return data
}
