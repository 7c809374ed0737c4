// Package compose reads files of the Compose Specification as what the Docker door is
// asked for: networks, secrets, configs and specs of services (docker/cli, stack deploy).
//
//	files ─ compose-go ─► project ─ Convert ─► Stack ─ cli/stack ─► Docker door
//
// Every field of the specification is honoured, says nothing to a cluster, or is
// refused by its name with the remedy (fields.go); none is dropped in silence. What
// docker's own words have none for becomes labels of the service (object/swarm, extras.go).
package compose
