// Package view says what docker's clients see of the containers of pods: names, ids,
// states, `docker ps` and `docker inspect`.
//
// It is pure: it is handed the pod and the time. It is not for finding
// pods nor for acting on them (package docker).
//
// How to debug: `docker inspect NAME` shows everything that it makes.
package view
