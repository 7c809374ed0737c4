# Reads every exporter once a second.
while :; do
	: > /series/next
	for address in $(nslookup tasks.exporter | awk '/^Name/ {found = 1} found && /^Address/ {print $NF}'); do
		wget -qO- "http://$address:9100/metrics" >> /series/next
	done
	mv /series/next /series/all.txt
	sleep 1
done
