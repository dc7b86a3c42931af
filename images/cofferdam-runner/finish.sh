#!/bin/bash
# git's interactive and mail commands are written in Perl; the runner only clones, hashes and compares.
set -euo pipefail

root=$1
rm -rf "$root"/usr/share/perl "$root"/usr/share/perl5 "$root"/usr/lib/x86_64-linux-gnu/perl \
  "$root"/usr/lib/git-core/git-{add--interactive,archimport,cvsexportcommit,cvsimport,cvsserver,send-email,svn,instaweb} \
  "$root"/usr/lib/git-core/git-{daemon,http-backend,http-push,imap-send,shell}
