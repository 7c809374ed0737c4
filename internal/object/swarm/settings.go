package swarm

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// The settings of the whole swarm are the one object of this resource, of this name: there
// once somebody has set one.
var (
	Clusters    = Group.WithResource("clusters")
	ClusterKind = Group.WithKind("Cluster")
)

// ClusterName is what docker calls every swarm.
const ClusterName = "default"

// Cluster is what is set for the whole swarm (docker swarm update).
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              ClusterSpec `json:"spec"`
}

// ClusterSpec is what of docker's Spec of a swarm can be honoured.
type ClusterSpec struct {
	Labels map[string]string `json:"labels,omitempty"`
	// TaskHistoryRetentionLimit is how many tasks a slot keeps, the one that runs included;
	// negative: all; nil: HistoryMax.
	TaskHistoryRetentionLimit *int64 `json:"taskHistoryRetentionLimit,omitempty"`
}

// History returns how many tasks a slot keeps.
func (s *ClusterSpec) History() int64 {
	if s.TaskHistoryRetentionLimit == nil {
		return HistoryMax
	}
	return *s.TaskHistoryRetentionLimit
}
