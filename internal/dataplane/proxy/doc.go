// Package proxy answers requests from outside on a node's ports and passes them to
// endpoints of services: HTTP/1.1, HTTP/2 with and without TLS, gRPC, WebSocket, and
// TLS connections as they are. It is net/http and net/http/httputil
// (docs/decisions/0008); what a request means is package object/route.
//
// Set… say what is, Commit makes it so with one atomic store: a request that is under
// way keeps the table it began with, and no connection is closed by a change. Ports
// open and close as tables ask; a port that somebody else has is told of, and tried
// again every few seconds.
//
// Requests go to ready endpoints in turn, straight to their addresses. One that cannot
// be connected to is passed over: nothing was said yet. After that only requests
// that may be repeated, and carry nothing, are tried once more (RFC 9110 §9.2.2).
//
// Everything a client controls is bounded: connections a port, the time and the size
// of headers, streams a connection, idle time. A path with "." or ".." elements is
// refused, since it would mean one thing to rules and another to a backend. What a
// client says of itself in X-Forwarded-… is replaced.
//
// Set… and Commit need one caller at a time; Run serves.
//
// WriteMetrics counts what was answered, by service and class of status: figures are
// no more than the services that rules lead to. Connections that are passed on as they
// are hold no requests to count. The access log is written beside the requests: what
// waits for its writer is bounded, and what is lost is counted.
//
// Debug: answers that the proxy makes itself say why in their body; the log names
// the port and host of each that was the backend's fault.
package proxy
