// Package archive keeps a backup as one encrypted file, NAME-TIME.tar.zst.age, and a signed manifest beside it,
// NAME-TIME.manifest.json.
//
// The file is what its ending says, from the inside out: a tar stream in PAX format (tarWriter), compressed by
// zstd, encrypted by age to X25519 recipients. Nothing of ours is needed to have the files back:
//
//	age -d -i IDENTITY NAME-TIME.tar.zst.age | zstd -d | tar x --xattrs --xattrs-include='*'
//
// It holds a tree ([Writer.Tree]) or the output of a command ([Writer.Output]) as one regular file. Because a tar header
// holds the size, such output is kept in a [Spool] first; so the exit status is known before a byte is sent.
//
// What the files of a tree are is package source's business, writing them back is package extract's, and where the
// two files of an archive lie is that of package backup: this package only reads and writes streams.
package archive
