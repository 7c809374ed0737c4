package compose

import (
	"context"
	"fmt"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// Source is where a stack is read from.
type Source struct {
	Name     string   // of the stack
	Files    []string // "-" is standard input; none: compose.yaml here or above
	EnvFiles []string // none: .env beside the first file
	Profiles []string // that are on
	// Environment is what is interpolated beside the EnvFiles: NAME=VALUE.
	Environment []string
	// Raw leaves ${…} as it is written.
	Raw bool
}

// Load reads the files as one project. Errors name the file, the field and what is wrong.
func Load(ctx context.Context, s Source) (*types.Project, error) {
	opts := []cli.ProjectOptionsFn{
		cli.WithName(s.Name), cli.WithEnv(s.Environment), cli.WithEnvFiles(s.EnvFiles...), cli.WithDotEnv,
		cli.WithInterpolation(!s.Raw), cli.WithResolvedPaths(true), cli.WithProfiles(s.Profiles),
	}
	if len(s.Files) == 0 {
		opts = append(opts, cli.WithDefaultConfigPath)
	}
	o, err := cli.NewProjectOptions(s.Files, opts...)
	if err != nil {
		return nil, fmt.Errorf("reading the compose file: %w", err)
	}
	p, err := o.LoadProject(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the compose file: %w", err)
	}
	return p, nil
}
