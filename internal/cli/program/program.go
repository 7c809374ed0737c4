// Package program says what families of commands have of the program that they are of, where they
// need the API alone.
package program

import (
	"io"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// Env is what the commands have of the program.
type Env struct {
	Out     io.Writer
	Connect func() (kubernetes.Interface, dynamic.Interface, error)
	// Table prints data as the user asked for; Flag adds the choice to a command.
	Table func(data any, columns []string, rows [][]string) error
	Flag  func(*cobra.Command)
}
