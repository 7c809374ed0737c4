package admission

import "context"

func (c *Chain) typeCheck(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
