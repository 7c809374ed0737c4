// Command trireme-shim is the parent of a node's containers. See package shim.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"trireme/internal/runtime/shim"
)

func main() { os.Exit(run()) }

func run() int {
	dir := flag.String("dir", "", "the folder of the node's containers")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if *dir == "" {
		log.Error("no folder given: --dir")
		return 2
	}
	debug.SetGCPercent(40) // a small heap that is seldom touched
	// Ctrl-C and hang-ups at the terminal of whoever started it are not for it. Not
	// signal.Ignore: containers would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGHUP)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := shim.Serve(ctx, shim.Dir(*dir), log); err != nil {
		log.Error("the shim ends", "err", err)
		return 1
	}
	return 0
}
