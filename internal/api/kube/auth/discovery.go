package auth

import (
	"net/http"

	"trireme/internal/account"
)

// The pages by which others can check tokens of service accounts.
const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/openid/v1/jwks"
)

// mux is what pages are added to.
type mux interface {
	Handle(path string, handler http.Handler)
}

// Discovery adds the pages of the OpenID provider that the issuer is; base is the
// URL under which clients reach the API.
func Discovery(m mux, i *account.Issuer, base string) error {
	about, err := i.Discovery(base + keysPath)
	if err != nil {
		return err
	}
	keys, err := i.KeySet()
	if err != nil {
		return err
	}
	m.Handle(discoveryPath, page("application/json", about))
	m.Handle(keysPath, page("application/jwk-set+json", keys))
	return nil
}

func page(contentType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Write(body)
	})
}
