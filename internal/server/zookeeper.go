package server

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"trireme/internal/api/zookeeper"
	"trireme/internal/mesos/codec"
	"trireme/internal/store"
)

// leaderPath is where Mesos' programs look for the leading master: the node of the lowest
// number below the path that their URL names.
const leaderPath = "/mesos/json.info_0000000001"

// leaderWait is between looks at a cluster that has no name yet.
const leaderWait = 100 * time.Millisecond

// zooKeeper tells ZooKeeper's clients who leads, until ctx ends.
func (m *manager) zooKeeper(ctx context.Context, s *store.Store) error {
	switch {
	case m.zookeeper == nil:
		return nil
	case m.mesos == nil: // its port was another process's: there is no leader to tell of
		return m.doors.Listener(zookeeperDoor).Close()
	}
	zk := zookeeper.New(m.doors.Listener(zookeeperDoor), m.cfg.Log)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return zk.Run(ctx) })
	g.Go(func() error {
		for {
			if info := m.masterInfo(s); info.GetId() != "" {
				zk.Set(map[string][]byte{leaderPath: codec.AppendJSON(nil, info)})
				return nil
			}
			select {
			case <-time.After(leaderWait):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return g.Wait()
}
