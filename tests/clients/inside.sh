# What each client makes of the sandbox as it is: no setting of its own, only the variables and files of the contract. A line for
# each goes to ./result: "ok NAME VERSION", or "failed NAME" and what it said.
result=$PWD/result
trusted=https://allowed.internet.test/

check() { # NAME VERSION COMMAND…
  local said
  mkdir -p "/tmp/$1"
  if said=$(cd "/tmp/$1" && timeout 200 bash -c "$3" 2>&1); then
    echo "ok $1 $(bash -c "$2" 2>/dev/null | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)"
  else
    echo "failed $1: $(tail -n 4 <<<"$said" | tr '\n' ' ' | cut -c 1-600)"
  fi | tee -a "$result"
}

export trusted
# The control: with the image's own roots alone the gateway's certificate is refused.
check control 'curl --version' 'sed "/END CERTIFICATE/q" /cofferdam/ca.pem > roots.pem; ! curl -sf --cacert roots.pem "$trusted"'
check curl 'curl --version' 'curl -sSf "$trusted"'
check wget 'wget --version' 'wget -nv -O - "$trusted"'
check git 'git --version' 'git ls-remote https://git.internet.test/two-first.git HEAD | grep HEAD'
check python 'python3 --version' 'python3 -c "
import ssl, urllib.request
context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT
urllib.request.urlopen(\"$trusted\", context=context).read()"'
check requests 'pip --version' 'python3 -c "
from pip._vendor import requests
requests.get(\"$trusted\").raise_for_status()"'
check node 'node --version' 'node -e "
const https = require(\"node:https\")
fetch(process.env.trusted).then(answer => { if (!answer.ok) throw answer.status })
  .then(() => https.get(process.env.trusted, answer => process.exit(answer.statusCode === 200 ? 0 : 1)).on(\"error\", e => { throw e }))"'
check bun 'bun --version' 'bun -e "const answer = await fetch(process.env.trusted); if (!answer.ok) throw answer.status"'
check deno 'deno --version' 'deno eval "const answer = await fetch(Deno.env.get(\"trusted\")); if (!answer.ok) throw answer.status"'
check go 'go version' 'cat > main.go <<"GO"
package main

import (
	"net/http"
	"os"
)

func main() {
	answer, err := http.Get(os.Getenv("trusted"))
	if err != nil || answer.StatusCode != 200 {
		panic(err)
	}
}
GO
go run main.go'
check jvm 'java --version' 'cat > Ask.java <<"JAVA"
import java.net.*;
import java.net.http.*;

class Ask {
    public static void main(String[] none) throws Exception {
        URI place = URI.create(System.getenv("trusted"));
        int old = ((HttpURLConnection) place.toURL().openConnection()).getResponseCode();
        int young = HttpClient.newHttpClient().send(HttpRequest.newBuilder(place).build(), HttpResponse.BodyHandlers.ofString()).statusCode();
        if (old != 200 || young != 200) System.exit(1);
    }
}
JAVA
java Ask.java'

check pip-install 'pip --version' 'pip install --target . six && PYTHONPATH=. python3 -c "import six; assert six.__version__ == \"1.17.0\""'
check npm-install 'npm --version' 'npm init -y >/dev/null && npm install is-odd @sindresorhus/is && node -e "if (!require(\"is-odd\")(3)) throw 1"'
check bun-install 'bun --version' 'echo "{}" > package.json && bun add is-odd && bun -e "if (!require(\"is-odd\")(3)) throw 1"'
check cargo-install 'cargo --version' 'cargo init --quiet --vcs none --name tried && cargo add --quiet itoa@1 &&
  echo "fn main() { assert_eq!(itoa::Buffer::new().format(7u8), \"7\") }" > src/main.rs && cargo run --quiet'
check go-install 'go version' 'go mod init tried.test/x && go get github.com/google/uuid@v1.6.0 &&
  printf "package main\nimport \"github.com/google/uuid\"\nfunc main() { println(uuid.NewString()) }\n" > main.go && go run .'
check maven-install 'mvn --version' 'mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get -Dartifact=org.hamcrest:hamcrest:2.2 -Dtransitive=false &&
  test -s ~/.m2/repository/org/hamcrest/hamcrest/2.2/hamcrest-2.2.jar'
# As a user who cannot write where the system keeps its lists.
check apt-install 'apt-get --version' 'mkdir -p lists/partial archives/partial &&
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] https://deb.debian.org/debian trixie main" > sources.list &&
  set -- -o Dir::State::lists=$PWD/lists -o Dir::Cache=$PWD -o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::status=/dev/null -o Acquire::Languages=none && apt-get "$@" update && apt-get "$@" download hello &&
  dpkg-deb -x hello_*.deb . && usr/bin/hello'
