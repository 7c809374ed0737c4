package tables

import (
	"fmt"
	"iter"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/store"
)

// Indexes of the rows of the Mesos door.
const (
	MesosByFramework = "framework" // id
	MesosByNode      = "node"
	MesosByPod       = "pod"      // object.Key as text
	MesosByExecutor  = "executor" // MesosExecutor
)

// What dies with a framework's stream or with a leader (docs/decisions/0012). No door shows
// the rows as they are.
var (
	MesosOffers = store.NewTable(store.Spec[*mesos.Offer, none]{
		ID: "mesosoffers", GVK: mesosRow("Offer"), Prefix: "/registry/rows.mesos.trireme.dev/offers/",
		Volatile: true, New: func() *mesos.Offer { return &mesos.Offer{} },
		Indexes: map[string]func(*mesos.Offer) []string{
			MesosByFramework: func(o *mesos.Offer) []string { return []string{o.Framework} },
			MesosByNode:      func(o *mesos.Offer) []string { return []string{o.Node} },
		},
	})
	MesosAccepts = store.NewTable(store.Spec[*mesos.Accept, none]{
		ID: "mesosaccepts", GVK: mesosRow("Accept"), Prefix: "/registry/rows.mesos.trireme.dev/accepts/",
		Namespaced: true, Volatile: true, New: func() *mesos.Accept { return &mesos.Accept{} },
	})
	MesosTasks = store.NewTable(store.Spec[*mesos.Task, none]{
		ID: "mesostasks", GVK: mesosRow("Task"), Prefix: "/registry/rows.mesos.trireme.dev/tasks/",
		Namespaced: true, Volatile: true, New: func() *mesos.Task { return &mesos.Task{} },
		Indexes: map[string]func(*mesos.Task) []string{
			MesosByNode: func(t *mesos.Task) []string { return []string{t.Node} },
			MesosByPod: func(t *mesos.Task) []string {
				if t.Pod.Name == "" {
					return nil
				}
				return []string{t.Pod.String()}
			},
			MesosByExecutor: func(t *mesos.Task) []string {
				if t.Executor == nil || t.Completed != nil {
					return nil
				}
				return []string{MesosExecutor(t.Namespace, t.ExecutorID(), t.Node)}
			},
		},
	})
	MesosNotices = store.NewTable(store.Spec[*mesos.Notice, none]{
		ID: "mesosnotices", GVK: mesosRow("Notice"), Prefix: "/registry/rows.mesos.trireme.dev/notices/",
		Namespaced: true, Volatile: true, New: func() *mesos.Notice { return &mesos.Notice{} },
	})
)

func mesosRow(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "rows." + mesos.Group.Group, Version: mesos.Group.Version, Kind: kind}
}

// MesosExecutor returns what MesosByExecutor finds the tasks of an executor under.
func MesosExecutor(framework, executor, node string) string {
	return framework + "\x00" + executor + "\x00" + node
}

// MesosFrameworkKey returns where the Framework of an id is in CustomObjects.
func MesosFrameworkKey(id string) object.Key {
	return mesosKey(mesos.Frameworks.Resource, mesos.FrameworkName(id))
}

// MesosAgentKey returns where the Agent of a node is in CustomObjects.
func MesosAgentKey(node string) object.Key { return mesosKey(mesos.Agents.Resource, node) }

func mesosKey(plural, name string) object.Key {
	return CustomPlace{Group: mesos.Group.Group, Plural: plural, Key: object.Key{Name: name}}.CustomKey()
}

// MesosFramework returns the framework of an id; false where there is none that can be read.
func MesosFramework(r store.Reader, id string) (*mesos.Framework, bool) {
	row, ok := CustomObjects.Row(r, MesosFrameworkKey(id))
	if !ok {
		return nil, false
	}
	f, err := mesos.FrameworkFrom(row.Object())
	return f, err == nil && f.Spec.ID == id
}

// MesosFrameworks yields the frameworks that can be read, removed ones too.
func MesosFrameworks(r store.Reader) iter.Seq[*mesos.Framework] {
	return func(yield func(*mesos.Framework) bool) {
		for row := range CustomObjects.RowsFrom(r, mesosKey(mesos.Frameworks.Resource, "").String(), "") {
			if f, err := mesos.FrameworkFrom(row.Object()); err == nil && !yield(f) {
				return
			}
		}
	}
}

// MesosAgent returns the agent of a node; false where there is none that can be read.
func MesosAgent(r store.Reader, node string) (*mesos.Agent, bool) {
	row, ok := CustomObjects.Row(r, MesosAgentKey(node))
	if !ok {
		return nil, false
	}
	a, err := mesos.AgentFrom(row.Object())
	return a, err == nil
}

// MesosAgents yields the agents that can be read.
func MesosAgents(r store.Reader) iter.Seq[*mesos.Agent] {
	return func(yield func(*mesos.Agent) bool) {
		for row := range CustomObjects.RowsFrom(r, mesosKey(mesos.Agents.Resource, "").String(), "") {
			if a, err := mesos.AgentFrom(row.Object()); err == nil && !yield(a) {
				return
			}
		}
	}
}

// IsMesos returns the name of the Framework or Agent and its resource, false where the key
// in CustomObjects is of another group.
func IsMesos(at object.Key) (plural, name string, ok bool) {
	if at.Namespace != mesos.Group.Group {
		return "", "", false
	}
	p := ParseCustomKey(at)
	return p.Plural, p.Name, true
}

// PutMesosNotice puts a notice, which has its namespace, behind those that wait for its
// framework.
func PutMesosNotice(tx *store.Tx, n *mesos.Notice) {
	for i := tx.Writes(); ; i++ {
		n.Name = fmt.Sprintf("%020d-%07d", tx.Now().UnixNano(), i)
		if _, taken := MesosNotices.Row(tx, object.KeyOf(n)); !taken {
			break
		}
	}
	MesosNotices.Put(tx, n)
}

// PutMesosFramework writes a framework.
func PutMesosFramework(tx *store.Tx, f *mesos.Framework) error {
	u, err := f.Unstructured()
	if err != nil {
		return err
	}
	CustomObjects.PutAt(tx, MesosFrameworkKey(f.Spec.ID), u)
	return nil
}

// PutMesosAgent writes an agent.
func PutMesosAgent(tx *store.Tx, a *mesos.Agent) error {
	u, err := a.Unstructured()
	if err != nil {
		return err
	}
	CustomObjects.PutAt(tx, MesosAgentKey(a.Name), u)
	return nil
}
