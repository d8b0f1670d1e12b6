-- Moves a leased job to delayed, or to dead when its class of error has no retries left.
-- KEYS: the queue's nine, settled, settled:old. ARGV: prefix, job, token, retries of the class,
-- delay in ms, class word, text.
-- Returns "delayed", "dead" or "cancelled", also when this token was told so before; "fenced" or
-- "done" when there was nothing to fail.
--! include place.lua
local settled, settled_old = KEYS[10], KEYS[11]
--! include settled.lua
local token = ARGV[3]
local entry = take_back(ARGV[2], token)
if not entry then return settled_as(string.match(token, '^(.*%-)(%d+)$')) or 'fenced' end
local id, index, failures, losses, cost, submitted, key = parse(entry)
failures = tonumber(failures) + 1
entry = table.concat({id, index, failures, losses, cost, submitted, key}, ' ')
local outcome
if album_of(id).gone then
    outcome = 'cancelled'
elseif failures > tonumber(ARGV[4]) then
    outcome = 'dead'
    bury(id, index, entry, ARGV[6], ARGV[7])
else
    outcome = 'delayed'
    tally('retried')
    call('ZADD', delayed, clock() + tonumber(ARGV[5]), entry)
end
count(id, 'leased', outcome)
write_books()
settle({token, outcome})
return outcome
