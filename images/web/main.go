// Command web is the demo: a small web server that says which replica answers.
// It also serves tests: probes that can be told to fail, a slow page, exit codes.
//
//	web                serve on :8080 (or $PORT)
//	web sleep          wait for a signal
//	web exit CODE      end at once
//	web env            print the environment
//	web get URL        print what a server answers
package main

import (
	"context"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		os.Exit(command(os.Args[1:]))
	}
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func command(args []string) int {
	switch args[0] {
	case "sleep":
		ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		defer cancel()
		<-ctx.Done()
		return 0
	case "exit":
		code, err := strconv.Atoi(strings.Join(args[1:], ""))
		if err != nil {
			fmt.Fprintln(os.Stderr, "exit: want a number")
			return 2
		}
		return code
	case "get":
		if err := get(strings.Join(args[1:], "")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	case "env":
		vars := os.Environ()
		slices.Sort(vars)
		fmt.Println(strings.Join(vars, "\n"))
		return 0
	}
	fmt.Fprintf(os.Stderr, "unknown command %q: want sleep, exit, env or get\n", args[0])
	return 2
}

func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

func serve() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	version := os.Getenv("WEB_VERSION")
	var healthy atomic.Bool
	healthy.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		data := page{Host: host, Version: version, Client: r.RemoteAddr, Hue: hue(host)}
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			fmt.Fprintf(w, "Hello from %s, version %s\n", data.Host, data.Version)
			return
		}
		if err := html.Execute(w, data); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			http.Error(w, "told to be unhealthy", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("POST /healthz/{state}", func(_ http.ResponseWriter, r *http.Request) {
		healthy.Store(r.PathValue("state") == "on")
	})
	mux.HandleFunc("GET /client", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Query().Get("for"))
		if err != nil {
			d = time.Second
		}
		select {
		case <-time.After(min(d, time.Minute)):
		case <-r.Context().Done():
		}
		fmt.Fprintln(w, host)
	})
	mux.HandleFunc("POST /exit", func(http.ResponseWriter, *http.Request) { os.Exit(1) })

	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	s := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := s.Shutdown(stop); err != nil {
			log.Print(err)
		}
	}()
	fmt.Printf("%s version %s serves on :%s\n", host, version, port)
	if err := s.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	<-ended // requests that were under way are answered first
	return nil
}

type page struct {
	Host, Version, Client string
	Hue                   int
}

// hue gives each replica a colour of its own.
func hue(s string) int {
	h := 0
	for _, c := range s {
		h = (h*31 + int(c)) % 360
	}
	return h
}

var html = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{.Host}}</title>
<style>
  body { margin: 0; min-height: 100vh; display: grid; place-content: center; text-align: center;
         font: 18px/1.5 system-ui, sans-serif; color: #fff; background: hsl({{.Hue}} 55% 32%) }
  h1 { font-size: 2.2rem; margin: 0 } p { margin: .4rem 0; opacity: .85 } code { font-size: 1rem }
</style>
<h1>{{.Host}}</h1>
<p>answered, version {{.Version}}</p>
<p><code>{{.Client}}</code></p>
<p>Reload: another replica may answer, in another colour.</p>
</html>
`))
