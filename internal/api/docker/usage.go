package docker

import (
	"slices"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"trireme/internal/kind"
)

var usageRoutes = map[string]handler{"GET /system/df": diskUsage}

// usage is what `docker system df` reads (Docker Engine API 1.51).
type usage struct {
	LayersSize int64
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []any
}

// diskUsage says what takes room on the nodes. How much containers and volumes take nobody knows.
func diskUsage(c *call) (any, error) {
	all := []string{string(system.ContainerObject), string(system.ImageObject), string(system.VolumeObject), string(system.BuildCacheObject)}
	asked := c.URL.Query()["type"]
	for _, t := range asked {
		if !slices.Contains(all, t) {
			return nil, kind.New(kind.Malformed, "unknown object type: %q: there are %v", t, all)
		}
	}
	wants := func(t system.DiskUsageObject) bool { return len(asked) == 0 || slices.Contains(asked, string(t)) }
	out := usage{Images: []image.Summary{}, Containers: []container.Summary{}, Volumes: []volume.Volume{}, BuildCache: []any{}}
	users := map[string]int64{}
	for one := range c.door.engine.Containers(c.engine()) {
		s := one.Summary(time.Now())
		out.Containers = append(out.Containers, s)
		users[s.ImageID]++
	}
	if !wants(system.ContainerObject) {
		out.Containers = nil
	}
	if wants(system.ImageObject) {
		out.Images = c.door.images.Summaries(c.images())
		for i := range out.Images {
			out.LayersSize += out.Images[i].Size
			out.Images[i].Containers = users[out.Images[i].ID]
		}
	}
	if wants(system.VolumeObject) {
		for _, v := range c.volumes(filters{}) {
			one := c.volume(v)
			one.UsageData = &volume.UsageData{RefCount: int64(len(c.usersOf(v))), Size: -1}
			out.Volumes = append(out.Volumes, one)
		}
	}
	return out, nil
}
