//go:build tools

// Package tools names the one binary that this module exists to pin.
package tools

import _ "github.com/benbjohnson/litestream/cmd/litestream"
