package docker

import "trireme/internal/kind"

// unserved is what is asked of docker often enough to say what to do instead.
var unserved = map[string]string{
	"POST /build":             "images are not built here: build elsewhere, then `docker load` or `docker push`",
	"POST /build/prune":       "nothing is built here, and nothing kept of it",
	"POST /session":           "images are not built here: build elsewhere, then `docker load` or `docker push`",
	"POST /grpc":              "images are not built here: build elsewhere, then `docker load` or `docker push`",
	"POST /commit":            "no image is made of a container: build one elsewhere, then `docker load` or `docker push`; `docker cp` gets files out",
	"GET /plugins/privileges": "docker's plugins have no place here: volumes come by CSI drivers, devices by device plugins (docs/docker.md)",
	"POST /plugins/create":    "docker's plugins have no place here: volumes come by CSI drivers, devices by device plugins (docs/docker.md)",
}

// unservedRoutes answer that, and GET /plugins with none.
var unservedRoutes = func() map[string]handler {
	all := map[string]handler{"GET /plugins": func(*call) (any, error) { return []any{}, nil }}
	for pattern, remedy := range unserved {
		all[pattern] = func(c *call) (any, error) {
			return nil, plain{kind.New(kind.Unsupported, "%s", remedy)}
		}
	}
	return all
}()
