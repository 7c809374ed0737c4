package docker

import (
	"net/http"
	"net/netip"
	"reflect"
	"time"

	"github.com/moby/moby/api/types/swarm"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"trireme/internal/kind"
	"trireme/internal/object"
	ours "trireme/internal/object/swarm"
	"trireme/internal/tables"
)

var swarmRoutes = map[string]handler{
	"GET /swarm": inspectSwarm, "POST /swarm/init": initSwarm, "POST /swarm/join": initSwarm, "POST /swarm/leave": leaveSwarm,
	"POST /swarm/update": updateSwarm, "GET /swarm/unlockkey": unlockKey, "POST /swarm/unlock": unlockSwarm,
}

// certificatesLast is for how long nodes' certificates are good (package wire).
const certificatesLast = 90 * 24 * time.Hour

// JoinToken is what machines join with: there is one for workers, and one for managers.
type JoinToken interface {
	Show() string
	Rotate() error
}

// cluster returns the swarm as docker's clients know it.
func (c *call) cluster() *swarm.ClusterInfo {
	info := &swarm.ClusterInfo{ID: c.clusterID(), DataPathPort: 4789, DefaultAddrPool: []netip.Prefix{pool4}, SubnetSize: uint32(bits4)}
	set := tables.SwarmCluster(c.snap)
	if set.Name != "" {
		info.Meta = meta(set)
	} else if ns, ok := tables.Namespaces.Get(c.snap, object.Key{Name: metav1.NamespaceSystem}); ok {
		info.Meta = meta(ns)
	}
	info.Spec.Name, info.Spec.Labels = ours.ClusterName, map[string]string{}
	if set.Spec.Labels != nil {
		info.Spec.Labels = set.Spec.Labels
	}
	history := set.Spec.History()
	info.Spec.Orchestration.TaskHistoryRetentionLimit = &history
	info.Spec.Dispatcher.HeartbeatPeriod, info.Spec.CAConfig.NodeCertExpiry = c.door.cfg.Heartbeat, certificatesLast
	info.TLSInfo.TrustRoot = string(c.door.cfg.CAPEM)
	return info
}

// mayAdd refuses who may not make machines nodes: the token lets everybody who has it.
func (c *call) mayAdd() error {
	if !c.may("create", "", "nodes", object.Key{}) {
		return kind.New(kind.Denied, "user %q may not see or change the join tokens: that takes the right to create nodes", c.rights.Who().Name)
	}
	return nil
}

func inspectSwarm(c *call) (any, error) {
	if err := c.mayAdd(); err != nil {
		return nil, err
	}
	return swarm.Swarm{ClusterInfo: *c.cluster(), JoinTokens: swarm.JoinTokens{Worker: c.door.cfg.Token.Show(), Manager: c.door.cfg.ManagerToken.Show()}}, nil
}

// initSwarm answers init and join: whoever can ask is part of a swarm (moby's words).
func initSwarm(*call) (any, error) {
	return nil, plain{kind.New(kind.Unavailable, `This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`)}
}

func leaveSwarm(c *call) (any, error) {
	if !c.flag("force") {
		return nil, plain{kind.New(kind.Unavailable, "You are attempting to leave the swarm on a node that is participating as a manager. "+
			"Removing the last manager erases all current state of the swarm: `trireme down` on that machine does it.")}
	}
	return nil, kind.New(kind.Unsupported, "force: a manager ends with its process: run `trireme down` on that machine, which leaves nothing behind; other machines leave by `trireme down` too, and `docker node rm` forgets them")
}

func unlockKey(*call) (any, error) { return swarm.UnlockKeyResponse{}, nil } // docker's clients say then that there is none

func unlockSwarm(*call) (any, error) {
	return nil, plain{kind.New(kind.Exists, "swarm is not locked")}
}

// updateSwarm writes what can be set, and rotates tokens.
func updateSwarm(c *call) (any, error) {
	version, err := c.index()
	if err != nil {
		return nil, err
	}
	if c.flag("rotateManagerUnlockKey") {
		return nil, kind.New(kind.Unsupported, "rotateManagerUnlockKey: the managers' keys are not locked")
	}
	var spec swarm.Spec
	if err := c.read(&spec); err != nil {
		return nil, err
	}
	have := c.cluster()
	if parseIndex(version) != have.Version.Index {
		return nil, kind.New(kind.Conflict, "update out of sequence")
	}
	if err := unchangeable(&spec, &have.Spec); err != nil {
		return nil, err
	}
	if err := c.set(&spec, &have.Spec); err != nil {
		return nil, err
	}
	for flag, token := range map[string]JoinToken{"rotateWorkerToken": c.door.cfg.Token, "rotateManagerToken": c.door.cfg.ManagerToken} {
		if !c.flag(flag) {
			continue
		}
		if err := c.mayAdd(); err != nil {
			return nil, err
		}
		if err := token.Rotate(); err != nil {
			return nil, err
		}
	}
	return answer{http.StatusOK, nil}, nil
}

// unchangeable refuses, by name, what is asked for otherwise than it is. What is not said
// is not asked for.
func unchangeable(asked, have *swarm.Spec) error {
	for _, f := range []struct {
		name        string
		asked, have any
		remedy      string
	}{
		{"Name", asked.Name, have.Name, "a swarm is called default"},
		{"Raft.SnapshotInterval", asked.Raft.SnapshotInterval, have.Raft.SnapshotInterval, keepsLog},
		{"Raft.KeepOldSnapshots", asked.Raft.KeepOldSnapshots, have.Raft.KeepOldSnapshots, keepsLog},
		{"Raft.LogEntriesForSlowFollowers", asked.Raft.LogEntriesForSlowFollowers, have.Raft.LogEntriesForSlowFollowers, keepsLog},
		{"Raft.ElectionTick", asked.Raft.ElectionTick, have.Raft.ElectionTick, keepsLog},
		{"Raft.HeartbeatTick", asked.Raft.HeartbeatTick, have.Raft.HeartbeatTick, keepsLog},
		{"Dispatcher.HeartbeatPeriod", asked.Dispatcher.HeartbeatPeriod, have.Dispatcher.HeartbeatPeriod, "it is a third of what `trireme up --grace` says"},
		{"CAConfig.NodeCertExpiry", asked.CAConfig.NodeCertExpiry, have.CAConfig.NodeCertExpiry, "nodes renew their certificates by themselves"},
		{"CAConfig.ExternalCAs", asked.CAConfig.ExternalCAs, have.CAConfig.ExternalCAs, "the manager's own authority signs"},
		{"CAConfig.SigningCACert", asked.CAConfig.SigningCACert, have.CAConfig.SigningCACert, "the manager's own authority signs"},
		{"CAConfig.SigningCAKey", asked.CAConfig.SigningCAKey, have.CAConfig.SigningCAKey, "the manager's own authority signs"},
		{"CAConfig.ForceRotate", asked.CAConfig.ForceRotate, have.CAConfig.ForceRotate, "the authority cannot be rotated yet"},
		{"TaskDefaults.LogDriver", asked.TaskDefaults.LogDriver, have.TaskDefaults.LogDriver, "logs are files on the nodes"},
		{"EncryptionConfig.AutoLockManagers", asked.EncryptionConfig.AutoLockManagers, have.EncryptionConfig.AutoLockManagers, "a manager starts without a key"},
	} {
		if v := reflect.ValueOf(f.asked); !v.IsZero() && !reflect.DeepEqual(f.asked, f.have) && (v.Kind() != reflect.Slice || v.Len() > 0) {
			return kind.New(kind.Unsupported, "%s cannot be changed: %s", f.name, f.remedy)
		}
	}
	return nil
}

const keepsLog = "etcd keeps the log by its own rules"

// set writes the settings, where they change.
func (c *call) set(asked, have *swarm.Spec) error {
	want := ours.ClusterSpec{Labels: asked.Labels, TaskHistoryRetentionLimit: have.Orchestration.TaskHistoryRetentionLimit}
	if n := asked.Orchestration.TaskHistoryRetentionLimit; n != nil {
		want.TaskHistoryRetentionLimit = n
	}
	if *want.TaskHistoryRetentionLimit == *have.Orchestration.TaskHistoryRetentionLimit && (len(want.Labels) == 0 && len(have.Labels) == 0 || reflect.DeepEqual(want.Labels, have.Labels)) {
		return nil
	}
	set := tables.SwarmCluster(c.snap)
	to := c.custom().Resource(ours.Clusters)
	u, err := tables.Unstructured(ours.ClusterKind, &ours.Cluster{ObjectMeta: metav1.ObjectMeta{Name: ours.ClusterName, ResourceVersion: set.ResourceVersion}, Spec: want})
	if err != nil {
		return err
	}
	if set.Name == "" {
		_, err = to.Create(c.Context(), u, metav1.CreateOptions{FieldManager: "docker"})
	} else {
		u.SetUID(set.UID)
		_, err = to.Update(c.Context(), u, metav1.UpdateOptions{FieldManager: "docker"})
	}
	return fromKubernetes(err)
}
