--! part
-- Where jobs are, and the books that say so. For the scripts that move jobs: they declare the
-- queue's nine keys in this order and give the key prefix as ARGV[1]. Keys that follow from the
-- data, `album:ID`, `dead:ID`, `aside:ID` and `wait:CLASS:TENANT`, are made from the prefix and so carry the
-- same hash tag: all of a script's keys live in one shard.
local prefix = ARGV[1]
local leased, leases, delayed, single, backlog = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local active = {interactive = KEYS[6], bulk = KEYS[7]}
local vtime = {interactive = KEYS[8], bulk = KEYS[9]}
local paused_tenants = prefix .. 'paused:tenants'
local call = redis.call

-- Milliseconds of server time.
local function clock()
    local t = call('TIME')
    return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- An entry is "ALBUM INDEX FAILURES LOSSES COST_MS SUBMITTED_MS KEY". The key comes last because
-- it may hold any byte but NUL. Returns the fields as text, or nil.
local function parse(entry)
    return string.match(entry, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
end

-- What moves need of an album, read once per script. `gone`: cancelled or unknown, so that no
-- job of it may wait again. `paused`: its jobs wait, and nobody gets them.
local albums = {}
local function album_of(id)
    local album = albums[id]
    if not album then
        local v = call('HMGET', prefix .. 'album:' .. id, 'class', 'tenant', 'cancel', 'paused')
        album = {class = v[1], tenant = v[2], gone = not v[1] or v[3] == '1',
            paused = v[4] == '1', change = {}}
        albums[id] = album
    end
    return album
end

-- Notes that a job of album `id`, or `n` of them, moved between two counters; write_books() writes them. Half a
-- move (nil) is for jobs that a counter never held or that leave the books.
local function count(id, from, to, n)
    local change = album_of(id).change
    if from then change[from] = (change[from] or 0) - (n or 1) end
    if to then change[to] = (change[to] or 0) + (n or 1) end
end

-- Counts what happens to the fleet as a whole: photos lost, retried, dead. write_books() writes it.
local tallies = {}
local function tally(what)
    tallies[what] = (tallies[what] or 0) + 1
end

local function write_books()
    local waiting = 0
    for id, album in pairs(albums) do
        if album.class then
            for name, n in pairs(album.change) do
                if n ~= 0 then call('HINCRBY', prefix .. 'album:' .. id, name, n) end
            end
            waiting = waiting + (album.change.waiting or 0)
        end
        album.change = {}
    end
    if waiting ~= 0 then call('INCRBY', backlog, waiting) end
    for what, n in pairs(tallies) do call('HINCRBY', prefix .. 'tally', what, n) end
    tallies = {}
end

-- Photos that wait in paused albums, whose ids are in `set` (at most 1,000 are asked), but for one.
local function paused_waiting(set, but)
    local sum = 0
    for _, id in ipairs(call('SRANDMEMBER', set, 1000)) do
        if id ~= but then
            sum = sum + tonumber(call('HGET', prefix .. 'album:' .. id, 'waiting') or 0)
        end
    end
    return sum
end

-- The same for tenants that are paused.
local function paused_tenants_waiting(but)
    local sum = 0
    for _, tenant in ipairs(call('SRANDMEMBER', paused_tenants, 1000)) do
        for class in pairs(active) do
            if tenant ~= but then sum = sum + call('LLEN', prefix .. 'wait:' .. class .. ':' .. tenant) end
        end
    end
    return sum
end

-- A tenant's list was empty and is not any more: it joins the fair share where it left, but not
-- before the tenant that has had the least, or its idle time would be credit. One that is paused stays out.
local function activate(class, tenant)
    if call('ZSCORE', active[class], tenant) or call('SISMEMBER', paused_tenants, tenant) == 1 then return end
    local least = call('ZRANGE', active[class], 0, 0, 'WITHSCORES')
    local last = call('HGET', vtime[class], tenant)
    call('ZADD', active[class], math.max(tonumber(last or 0), tonumber(least[2] or 0)), tenant)
    if last then call('HDEL', vtime[class], tenant) end
end

-- Pushes entries (any number) to one end of a list; at the head the first entry comes out first.
local function push(command, list, entries)
    local chunk = {}
    local first, last, step = 1, #entries, 1
    if command == 'LPUSH' then first, last, step = #entries, 1, -1 end
    for i = first, last, step do
        chunk[#chunk + 1] = entries[i]
        if #chunk == 500 then
            call(command, list, unpack(chunk))
            chunk = {}
        end
    end
    if #chunk > 0 then call(command, list, unpack(chunk)) end
end

-- Collects entries that wait again, ahead of younger ones; write_waiting() pushes them. One that
-- was lost before goes to the end of `single`: it may be what killed its worker, and those that
-- have not been tried alone come first.
local again, singles = {}, {}
local function wait_again(id, losses, entry)
    if losses > 0 then
        singles[#singles + 1] = entry
        return
    end
    local album = album_of(id)
    local list = prefix .. 'wait:' .. album.class .. ':' .. album.tenant
    if not again[list] then again[list] = {album = album, entries = {}} end
    table.insert(again[list].entries, entry)
end

local function write_waiting()
    push('RPUSH', single, singles)
    for list, batch in pairs(again) do
        push('LPUSH', list, batch.entries)
        activate(batch.album.class, batch.album.tenant)
    end
    again, singles = {}, {}
end

-- A job that was in a worker's hands waits again as it was.
local function give_back(entry)
    local id, _, _, losses = parse(entry)
    if not id then return end
    if album_of(id).gone then
        count(id, 'leased', 'cancelled')
    else
        wait_again(id, tonumber(losses), entry)
        count(id, 'leased', 'waiting')
    end
end

-- Makes a job a dead letter: "CLASS LENGTH TEXTENTRY" under its index.
local function bury(id, index, entry, word, text)
    tally('dead')
    call('HSET', prefix .. 'dead:' .. id, index, word .. ' ' .. #text .. ' ' .. text .. entry)
end

-- The worker's name in a token "<worker>.<boot>-<sequence>".
local function worker_of(token)
    return string.match(token, '^(.*)%.[^.]*$') or token
end

-- A lease ended without a word from its worker. The job waits a second for every loss it has
-- seen, counted from `since`, so that what killed one worker does not race through the fleet, or
-- is dead when it has been lost `limit` times. The caller removes the lease.
local function lose(value, since, limit)
    local token, entry = string.match(value, '^(%S+) (.*)$')
    local id, index, failures, losses, cost, submitted, key = parse(entry)
    if not id then return end -- not ours; it must not stop the queue
    tally('lost')
    losses = tonumber(losses) + 1
    if album_of(id).gone then
        count(id, 'leased', 'cancelled')
        return
    end
    entry = table.concat({id, index, failures, losses, cost, submitted, key}, ' ')
    if losses >= limit then
        bury(id, index, entry, 'lost', 'the worker died with this photo in hand ' .. losses ..
            ' times, last ' .. worker_of(token) .. '; look at its log and retry the photo alone')
        count(id, 'leased', 'dead')
    else
        call('ZADD', delayed, since + 1000 * losses, entry)
        count(id, 'leased', 'delayed')
    end
end

-- Takes a job out of a worker's hands, if `token` still holds it. Returns its entry or nil.
local function take_back(job, token)
    local value = call('HGET', leased, job)
    if not value or string.sub(value, 1, #token + 1) ~= token .. ' ' then return nil end
    call('HDEL', leased, job)
    call('ZREM', leases, job)
    return string.sub(value, #token + 2)
end
