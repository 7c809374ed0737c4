package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	genericapiserver "k8s.io/apiserver/pkg/server"
	restclient "k8s.io/client-go/rest"

	"trireme/internal/api/kube/usage"
	"trireme/internal/object"
	"trireme/internal/tables"
)

// answerMax bounds what Ask reads.
const answerMax = 4 << 20

// Ask gets what is at a path of the API with its query, as JSON, on the manager's own
// behalf. An aggregated server behind it is asked as for any other client.
func (s *Server) Ask(ctx context.Context, uri string) ([]byte, error) {
	config := restclient.CopyConfig(s.loop.config())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+uri, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := config.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMax+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > answerMax:
		return nil, fmt.Errorf("the answer has more than %d MiB", answerMax>>20)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	return body, nil
}

// serveCustomMetrics serves custom.metrics.k8s.io, and tells of it in discovery while no
// adapter is registered for the group. There is no APIService of it: who installs an
// adapter finds the place free.
func (s *Server) serveCustomMetrics(groups aggregated.ResourceManager) error {
	path, handler := "/apis/"+usage.CustomGroupVersion.Group, usage.Custom(s.store)
	s.api.Handler.NonGoRestfulMux.Handle(path, handler)
	s.api.Handler.NonGoRestfulMux.HandlePrefix(path+"/", handler)
	groups = groups.WithSource(aggregated.BuiltinSource)
	shown := false
	show := func(object.Key) error {
		want := !usage.Adapted(s.store.Snapshot())
		switch {
		case want && !shown:
			groups.AddGroupVersion(usage.CustomGroupVersion.Group, apidiscoveryv2.APIVersionDiscovery{
				Version: usage.CustomGroupVersion.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			})
		case !want && shown:
			groups.RemoveGroupVersion(metav1.GroupVersion(usage.CustomGroupVersion))
		}
		shown = want
		return nil
	}
	return s.ext.Front().AddPostStartHook("custom-metrics", func(ctx genericapiserver.PostStartHookContext) error {
		if err := show(object.Key{}); err != nil {
			return err
		}
		go func() { _ = s.store.Follow(ctx, tables.APIServices.Any(), show) }() // it fails when ctx ends
		return nil
	})
}
