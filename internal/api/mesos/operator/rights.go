package operator

import (
	"trireme/internal/access"
	"trireme/internal/object/mesos"
)

// rights are what a caller may see, asked once each.
type rights struct {
	who   access.User
	rules *access.Checker
	known map[string]bool // by what is asked for, or the name of a role
}

// list reports whether the caller may list a resource of Mesos' group or, in a
// namespace, pods.
func (r *rights) list(group, resource, namespace string) bool {
	key := group + "\x00" + resource + "\x00" + namespace
	may, ok := r.known[key]
	if !ok {
		may = r.ask(access.Request{Verb: "list", APIGroup: group, Resource: resource, Namespace: namespace})
		r.known[key] = may
	}
	return may
}

func (r *rights) ask(q access.Request) bool {
	q.User = r.who
	may, _ := r.rules.Allows(&q)
	return may
}

// one reports whether the caller may see one object of Mesos' group: it may list
// them, or get this one.
func (r *rights) one(resource, name string) bool {
	return r.list(mesos.Group.Group, resource, "") || r.ask(access.Request{Verb: "get", APIGroup: mesos.Group.Group, Resource: resource, Name: name})
}

func (r *rights) agent(name string) bool { return r.one(mesos.Agents.Resource, name) }

func (r *rights) framework(id string) bool {
	return r.one(mesos.Frameworks.Resource, mesos.FrameworkName(id))
}

// role reports whether the caller may see what runs and what is lent for a role.
func (r *rights) role(role string) bool {
	may, ok := r.known[role]
	if !ok {
		may = r.list("", "pods", mesos.Namespace(role))
		r.known[role] = may
	}
	return may
}
