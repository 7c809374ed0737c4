package marathon

import (
	"net/http"

	"trireme/internal/object/marathon"
)

var podRoutes = route{"GET": listPods, "POST": refusePod, "PUT": refusePod}

func listPods(c *call) (any, error) {
	if len(c.path) == 0 {
		return []any{}, nil
	}
	return nil, missing("Pod '/%s' does not exist", c.path[0])
}

func listPodStatus(*call) (any, error) { return answer{code: http.StatusOK, body: []any{}}, nil }

func refusePod(*call) (any, error) {
	return nil, marathon.Problems{{Path: "/containers", Errors: []string{"pods are not run yet: write their containers as apps"}}}
}
