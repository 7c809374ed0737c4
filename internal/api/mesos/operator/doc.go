// Package operator is Mesos' operator API: the calls of POST /api/v1 on a master,
// and the older endpoints (/state, /slaves, /quota, /machine/down and more) that
// mesos-dns, exporters and scripts read. It is one http.Handler beside the scheduler API
// (the package above). Managers that do not lead answer what they can of themselves and
// send clients to the leader with the rest.
//
//	operator.go  routes, calls, who may see what
//	view.go      one look at the tables: frameworks, agents, tasks, offers, sums
//	answer.go    the view in Mesos' messages: GET_*
//	legacy.go    the view as the older endpoints have it, with v0 names (slave_id)
//	metrics.go   /metrics/snapshot
//	agents.go    drain, deactivate, gone; reserve.go reservations and volumes;
//	             maintenance.go schedule, down, up; tenants.go weights and quotas
//	stream.go    SUBSCRIBE: the store's history as events
//
// Reading shows frameworks, agents and tasks whose objects (frameworks, agents, the
// pods of the role's namespace) the caller may list. Writing changes Agents,
// Frameworks and Tenants through the Kubernetes door as the caller; loops do the
// rest: they rescind offers, end tasks, remove frameworks.
package operator
