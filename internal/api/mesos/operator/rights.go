package operator

import (
	"trireme/internal/api/caller"
	"trireme/internal/object"
	"trireme/internal/object/mesos"
	"trireme/internal/tables"
)

// rights are what a caller may see. One request or follower has them.
type rights struct {
	*caller.Rights
	roles map[string]bool // that were asked for in this look
}

func (r *rights) agent(node string) bool {
	return r.Sees(tables.CustomObjects, tables.MesosAgentKey(node))
}

func (r *rights) framework(id string) bool {
	return r.Sees(tables.CustomObjects, tables.MesosFrameworkKey(id))
}

func (r *rights) tenant(name string) bool {
	return r.Sees(tables.CustomObjects, tables.TenantKey(name))
}

// role reports whether the caller may see what runs and what is lent for a role: pods of
// its namespace.
func (r *rights) role(role string) bool {
	may, ok := r.roles[role]
	if !ok {
		may = r.Sees(tables.Pods, object.Key{Namespace: mesos.Namespace(role)})
		r.roles[role] = may
	}
	return may
}
