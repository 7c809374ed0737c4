// Package remote runs commands in containers, and attaches to them, through a
// Kubernetes API that is called in process: client-go's streams over a connection that
// is a pipe.
//
// It is not for what docker's clients see of the streams (package docker). A Stream ends
// with its context; what it started has returned then.
//
// How to debug: the audit log has each Stream as a create of pods/exec or pods/attach.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

// Options say what is streamed; nil: nothing.
type Options struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	Sizes          remotecommand.TerminalSizeQueue // of the terminal
	// Open is called when the other side has agreed, before the first byte; an error of
	// it ends the stream. Nil: nobody wants to know.
	Open func() error
}

// Stream has the URL's command run, or attaches, until it ends, and returns its exit
// code. An error before Open is the API's.
func Stream(ctx context.Context, conf *rest.Config, to *url.URL, o Options) (code int, err error) {
	transport, err := rest.TransportFor(conf)
	if err != nil {
		return 0, err
	}
	d := &dialer{transport: transport, open: o.Open}
	e, err := remotecommand.NewSPDYExecutorForTransports(d, d, http.MethodPost, to)
	if err != nil {
		return 0, err
	}
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY, TerminalSizeQueue: o.Sizes})
	var exit exec.CodeExitError
	if errors.As(err, &exit) {
		return exit.Code, nil
	}
	return 0, err
}

// dialer upgrades one request to a connection.
type dialer struct {
	transport http.RoundTripper
	open      func() error
	conn      net.Conn
}

// RoundTrip implements http.RoundTripper.
func (d *dialer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	req.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	resp, err := d.transport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	conn, ok := resp.Body.(net.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("upgrading a request: its answer is no connection, but %T", resp.Body), resp.Body.Close())
	}
	d.conn, resp.Body = conn, http.NoBody // which the library closes
	return resp, nil
}

// NewConnection implements spdy.Upgrader.
func (d *dialer) NewConnection(resp *http.Response) (httpstream.Connection, error) {
	if d.conn == nil {
		return nil, refusal(resp)
	}
	if d.open != nil {
		if err := d.open(); err != nil {
			return nil, errors.Join(err, d.conn.Close())
		}
	}
	return spdy.NewClientConnection(d.conn)
}

// refusalMax bounds what is read of a refusal, in bytes.
const refusalMax = 64 << 10

// refusal returns what the API, or the agent behind it, said instead of upgrading.
func refusal(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, refusalMax))
	if err != nil {
		return fmt.Errorf("reading why a stream was refused: %w", err)
	}
	st := metav1.Status{}
	if json.Unmarshal(b, &st) == nil && st.Status == metav1.StatusFailure {
		return apierrors.FromObject(&st)
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, http.MethodPost, corev1.Resource("pods"), "", strings.TrimSpace(string(b)), 0, true)
}
