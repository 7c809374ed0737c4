// Package imagehealth reads the health checks that images bring, for containers that have
// these count as their own (object.ContainerOptions.Health).
//
// It is not for making the checks (package probe) nor for what follows from them (package
// agent). A Reader may be used by any number of goroutines.
//
// How to debug: the condition trireme.dev/ImageHealth of a pod names the containers that
// have such a check; an event ImageHealthUnknown says why one has not.
package imagehealth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/moby/moby/api/types/container"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/lru"

	"trireme/internal/agent/machine"
	"trireme/internal/object"
	"trireme/internal/object/swarm"
	"trireme/internal/runtime"
)

const (
	keptMax   = 512     // images whose health checks are remembered
	configMax = 8 << 20 // bytes
)

// Reader reads health checks of a node's images.
type Reader struct {
	images runtime.Images
	kept   *lru.Cache // by the image's id
}

// New returns a reader of the images.
func New(images runtime.Images) *Reader { return &Reader{images, lru.New(keptMax)} }

// Probes returns what a container of the pod is probed by because of its image; nil: the
// image has no health check, or the pod wants none of it.
func (r *Reader) Probes(ctx context.Context, pod *corev1.Pod, container, image string) (*machine.Probes, error) {
	o, err := object.OptionsOf(pod, container)
	if err != nil || o.Health == nil {
		return nil, err
	}
	h, err := r.read(ctx, image)
	if err != nil || h == nil {
		return nil, err
	}
	own, like := *h, o.Health
	own.Interval, own.Timeout = cmp.Or(like.Interval, own.Interval), cmp.Or(like.Timeout, own.Timeout)
	own.StartPeriod, own.StartInterval = cmp.Or(like.StartPeriod, own.StartPeriod), cmp.Or(like.StartInterval, own.StartInterval)
	own.Retries = cmp.Or(like.Retries, own.Retries)
	ready, live, err := swarm.Probes(&own)
	if err != nil || ready == nil {
		return nil, err
	}
	if !like.End {
		live = nil
	}
	return &machine.Probes{Ready: ready, Live: live}, nil
}

// read returns what the image's configuration has, which never changes; nil: nothing.
func (r *Reader) read(ctx context.Context, image string) (*container.HealthConfig, error) {
	if !strings.HasPrefix(image, "sha256:") { // as a registry calls it
		known, err := r.images.Image(ctx, image)
		if err != nil {
			return nil, err
		}
		image = known.ID
	}
	if have, ok := r.kept.Get(image); ok {
		return have.(*container.HealthConfig), nil
	}
	body, _, err := r.images.Content(ctx, image, 0)
	if err != nil {
		return nil, fmt.Errorf("reading the image's health check: %w", err)
	}
	var conf struct {
		Config struct{ Healthcheck *container.HealthConfig }
	}
	err = json.NewDecoder(io.LimitReader(body, configMax)).Decode(&conf)
	if err = errors.Join(err, body.Close()); err != nil {
		return nil, fmt.Errorf("reading the health check of image %s: %w", image, err)
	}
	r.kept.Add(image, conf.Config.Healthcheck)
	return conf.Config.Healthcheck, nil
}
