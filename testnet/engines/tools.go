//go:build tools

// Package engines pins the programs that a consortium runs: this file names them, go.mod and go.sum fix every byte that
// they are built from. It is compiled into `vouchsafe`, which builds them on first use.
package engines

import _ "github.com/cometbft/cometbft/cmd/cometbft"
