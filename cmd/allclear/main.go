// Command allclear does the protection jobs of a host and proves that each
// still works.
package main

import (
	"context"
	"os"

	"allclear/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.System()))
}
