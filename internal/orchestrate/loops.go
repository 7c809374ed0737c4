package orchestrate

import (
	"time"

	"trireme/internal/loop"
	"trireme/internal/orchestrate/autoscale"
	"trireme/internal/orchestrate/certificate"
	"trireme/internal/orchestrate/clusterrole"
	"trireme/internal/orchestrate/cronjob"
	"trireme/internal/orchestrate/daemonset"
	"trireme/internal/orchestrate/deployment"
	"trireme/internal/orchestrate/disruption"
	"trireme/internal/orchestrate/endpoints"
	"trireme/internal/orchestrate/floatingip"
	"trireme/internal/orchestrate/gateway"
	"trireme/internal/orchestrate/gc"
	"trireme/internal/orchestrate/job"
	"trireme/internal/orchestrate/marathon"
	"trireme/internal/orchestrate/mesos"
	"trireme/internal/orchestrate/mirror"
	"trireme/internal/orchestrate/namespace"
	"trireme/internal/orchestrate/node"
	"trireme/internal/orchestrate/peergroup"
	"trireme/internal/orchestrate/podgc"
	"trireme/internal/orchestrate/quota"
	"trireme/internal/orchestrate/rebalance"
	"trireme/internal/orchestrate/replicaset"
	"trireme/internal/orchestrate/route"
	"trireme/internal/orchestrate/snapshot"
	"trireme/internal/orchestrate/sow"
	"trireme/internal/orchestrate/statefulset"
	"trireme/internal/orchestrate/swarm"
	"trireme/internal/orchestrate/ttl"
	"trireme/internal/orchestrate/volume"
)

// Config configures the loops. The zero value is useful.
type Config struct {
	CAPEM []byte    // the cluster's CA, for the config map kube-root-ca.crt; empty: no such map
	Pods  sow.Rules // what admission says to the pods that loops make
	// ReservedPort says which TCP ports of every node are the cluster's own; nil: none.
	ReservedPort func(port int32) bool
	// MesosSilence is for how long a node's readiness is unknown before its Mesos agent is
	// unreachable; 0: 60 s.
	MesosSilence time.Duration
}

// Loops returns new loops of every kind, in the order in which they feed each
// other.
func Loops(cfg Config) []loop.Reconciler {
	return []loop.Reconciler{
		namespace.New(cfg.CAPEM), node.New(),
		autoscale.New(), cronjob.New(), job.New(cfg.Pods), ttl.New(), disruption.New(), rebalance.New(),
		deployment.New(), replicaset.New(cfg.Pods), replicaset.NewControllers(cfg.Pods),
		statefulset.New(cfg.Pods), daemonset.New(cfg.Pods), swarm.New(cfg.Pods), marathon.NewDeployments(), marathon.NewApps(cfg.Pods),
		mesos.NewAgents(cfg.MesosSilence), mesos.NewDrains(), mesos.NewFrameworks(), mesos.NewAccepts(cfg.Pods), mesos.NewTasks(),
		quota.New(), gc.New(), podgc.New(), endpoints.New(), mirror.New(), peergroup.New(),
		floatingip.New(), route.New(), gateway.New(cfg.ReservedPort), clusterrole.New(), certificate.New(),
		volume.NewEphemeral(), volume.NewBinder(), volume.NewLocal(), volume.NewNamed(), volume.NewProtector(), volume.NewAttacher(),
		snapshot.New(),
	}
}

// PodLoops returns new loops of those kinds alone that make pods and take them away, and what their
// pods wait for: what somebody needs who asks what would happen.
func PodLoops(rules sow.Rules) []loop.Reconciler {
	return []loop.Reconciler{
		job.New(rules), disruption.New(), deployment.New(), replicaset.New(rules), replicaset.NewControllers(rules),
		statefulset.New(rules), daemonset.New(rules), swarm.New(rules), marathon.NewApps(rules), quota.New(),
		volume.NewEphemeral(), volume.NewBinder(), volume.NewLocal(), volume.NewNamed(),
	}
}
